"""The balances of the books, and the movements that led to them."""

from dataclasses import dataclass, field

from comptroller.ledger.accounts import AccountName
from comptroller.ledger.audit import trusted
from comptroller.ledger.books import Account, Attempt, Books
from comptroller.ledger.entries import Approval, Batch, Entry, Manifest
from comptroller.ledger.names import study_name
from comptroller.ledger.store import Store


@dataclass(frozen=True, slots=True)
class AccountLine:
    """One account; money in micro-units."""

    account: AccountName
    currency: str
    requested: int
    """The ceiling last requested, with what transfers brought and took."""
    ceiling: int
    """The one in force."""
    spent: int
    held: int

    @property
    def room(self) -> int:
        """Return the amount that can still be reserved."""
        return max(0, self.requested - self.spent - self.held)


@dataclass(frozen=True, slots=True)
class TrialLine:
    """One trial; money in micro-units."""

    study: str
    name: str
    """The study's name, as its attempts had it."""
    trial: int
    attempts: int
    open: int
    seconds: int
    """Billed, of closed attempts."""
    spent: int
    held: int


@dataclass(frozen=True, slots=True)
class Movement:
    """The effect of one entry on one account."""

    sequence: int
    time: int
    """The writer's clock, in unix seconds."""
    entry: str
    account: AccountName
    ceiling: int
    spent: int
    held: int
    """The account's sums after it."""


@dataclass(frozen=True, slots=True)
class ManifestLine:
    """A study's declared intent, and when it was declared; hashes as in the journal."""

    study: str
    """The study's uid."""
    revision: int
    """0, or the number of the amendment."""
    generation: int
    spec: str
    space: str
    criteria: str
    sequence: int
    time: int
    """The writer's clock, in unix seconds."""


@dataclass(frozen=True, slots=True)
class ApprovalLine:
    """Up to what somebody approved a study's ceiling, and when."""

    study: str
    """The study's uid."""
    number: int
    amount: int
    approver: str
    sequence: int
    time: int
    """The writer's clock, in unix seconds."""


@dataclass(slots=True)
class Balance:
    """The books of one namespace."""

    namespace: str
    accounts: list[AccountLine] = field(default_factory=list)
    trials: list[TrialLine] = field(default_factory=list)
    manifests: list[ManifestLine] = field(default_factory=list)
    approvals: list[ApprovalLine] = field(default_factory=list)
    movements: list[Movement] = field(default_factory=list)
    overruns: int = 0


def balance(
    store: Store,
    namespace: str,
    *,
    study: str = "",
    account: AccountName | None = None,
    explain: bool = False,
) -> Balance:
    """Draw the balance of a namespace.

    Args:
        store: where its journal is.
        namespace: whose.
        study: a study's name or uid: only its trials, and the accounts they draw on.
        account: only this account, and the trials that draw on it.
        explain: also list every entry that moved one of the accounts, with the sums that it led to.

    Raises:
        Untrusted: there is no journal, or it is damaged.
        Unavailable: the store could not be read.
    """
    moved: list[Movement] = []
    declared: list[ManifestLine] = []
    approvals: list[ApprovalLine] = []

    def observe(batch: Batch, entry: Entry, books: Books) -> None:
        if isinstance(entry, Manifest):
            declared.append(_manifest(batch, entry))
        elif isinstance(entry, Approval):
            approvals.append(_approval(batch, entry))
        if not explain:
            return
        # A settled attempt is still open here: only its `Close` takes it away, and that moves no money.
        for name in books.touched(entry):
            found = books.accounts[name]
            sums = (found.ceiling, found.spent, found.held)
            moved.append(Movement(batch.sequence, batch.time, entry.id, name, *sums))

    found = draw(trusted(store, namespace, observe).books, namespace, study=study, account=account)
    studies = {line.study for line in found.trials}
    found.manifests = [line for line in declared if line.study in studies or not (study or account)]
    found.approvals = [line for line in approvals if line.study in studies or not (study or account)]
    shown = {line.account for line in found.accounts}
    found.movements = [movement for movement in moved if movement.account in shown]
    return found


def draw(books: Books, namespace: str, *, study: str = "", account: AccountName | None = None) -> Balance:
    """Draw the balance of books that are trusted: as `balance`, without what only the journal tells."""
    found = Balance(namespace, overruns=books.overruns)
    drawn: set[AccountName] = set()
    for attempts in books.trials.values():
        names = {name for attempt in attempts for name in attempt.accounts}
        of_study = study in {"", attempts[0].study, named_study(attempts[0])}
        if of_study and (not account or account in names):
            found.trials.append(_trial(books, attempts))
            drawn |= names
    found.trials.sort(key=lambda line: (line.name, line.study, line.trial))
    if account:
        drawn = {account} & books.accounts.keys()
    elif not study:
        drawn = set(books.accounts)
    found.accounts = [_account(name, books.accounts[name]) for name in sorted(drawn)]
    return found


def named_study(attempt: Attempt) -> str:
    """The study's name in the name of an attempt."""
    return study_name(attempt.name, attempt.study, attempt.trial, attempt.number)


def _account(name: AccountName, account: Account) -> AccountLine:
    return AccountLine(name, account.currency, account.limit, account.ceiling, account.spent, account.held)


def _manifest(batch: Batch, entry: Manifest) -> ManifestLine:
    hashes = (entry.spec, entry.space, entry.criteria)
    return ManifestLine(entry.study, entry.revision, entry.generation, *hashes, batch.sequence, batch.time)


def _approval(batch: Batch, entry: Approval) -> ApprovalLine:
    return ApprovalLine(entry.study, entry.number, entry.amount, entry.approver, batch.sequence, batch.time)


def _trial(books: Books, attempts: list[Attempt]) -> TrialLine:
    first = attempts[0]
    return TrialLine(
        study=first.study,
        name=named_study(first),
        trial=first.trial,
        attempts=len(attempts),
        open=sum(attempt.open for attempt in attempts),
        seconds=sum(map(books.billed_seconds, attempts)),
        spent=sum(map(books.spent, attempts)),
        held=sum(attempt.held for attempt in attempts),
    )
