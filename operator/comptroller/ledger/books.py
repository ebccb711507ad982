"""The fold over a journal: accounts, reservations, attempts. Pure; money is integers.

An entry that breaks a rule is rejected: it stays in the journal, has no effect, and is a violation for
`verify`. A correct writer never writes one, since it folds everything before it first.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from comptroller.ledger.accounts import AccountKind, AccountName, Family
from comptroller.ledger.entries import (
    Adjust,
    Approval,
    Ceiling,
    Close,
    Entry,
    Manifest,
    Membership,
    Place,
    Post,
    Price,
    Reserve,
    Start,
    Takeover,
    Transfer,
    Void,
)
from comptroller.ledger.names import AttemptKey, TrialKey
from comptroller_api.study import Resources
from comptroller_api.trial import End

T = TypeVar("T", bound=Hashable)


@dataclass(slots=True)
class Account:
    """A ceiling and what is under it, in micro-units."""

    currency: str
    requested: int
    """The ceiling last requested, before transfers."""
    ceiling: int
    """The ceiling in force. Where `limit` falls under what is spent and held, it follows as holds end.

    It never rises by itself: an overrun leaves `spent + held` above it, for everyone to see.
    """
    revision: int = 0
    spent: int = 0
    held: int = 0
    moved: int = 0
    """The amount that transfers brought, less the amount that they took."""
    transfers: int = 0
    """The number of transfers that took."""
    carried: int = 0
    """The amount that the budget spent within this period on the accounts of other periods."""
    pending: int = 0
    """The amount that attempts that were open there had spent and held."""
    credited: int = 0
    """The amount that the budget's credits had spent before this period began."""
    starts: int | None = None
    ends: int | None = None
    """The period in unix seconds, as last declared; `None`: unbounded."""
    earliest: int | None = None
    latest: int | None = None
    """The bounds of all the periods that were declared for it: a time zone that is edited moves them."""
    current: bool = True
    """No account with days in common was declared later, so `carried` is all that was spent elsewhere."""

    @property
    def limit(self) -> int:
        """Return the wanted ceiling: the requested one, with transfers, less the amount spent elsewhere."""
        return self.requested + self.moved - self.carried - self.pending

    def declare(self, entry: Ceiling) -> None:
        """Take over what `entry` says; the ceiling in force follows."""
        if (self.starts, self.ends) == (None, None):
            self.earliest, self.latest = entry.starts, entry.ends
        else:
            self.earliest = _bound(min, self.earliest, entry.starts)
            self.latest = _bound(max, self.latest, entry.ends)
        self.requested, self.revision = entry.amount, entry.revision
        self.carried, self.pending, self.credited = entry.carried, entry.pending, entry.credited
        self.starts, self.ends, self.current = entry.starts, entry.ends, True
        self.settle()

    def overlaps(self, starts: int | None, ends: int | None) -> bool:
        """Return whether a lease on this account may have run within a period, in unix seconds."""
        before = self.latest is not None and starts is not None and self.latest <= starts
        after = self.earliest is not None and ends is not None and ends <= self.earliest
        return not before and not after

    @property
    def room(self) -> int:
        """Return the amount that can still be reserved."""
        return max(0, self.limit - self.spent - self.held)

    def settle(self) -> None:
        """Let the ceiling follow what is wanted as far as what is spent and held allows."""
        self.ceiling = max(self.limit, min(self.ceiling, self.spent + self.held))

    @property
    def over(self) -> int:
        """Micro-units above the ceiling in force; anything but 0 breaks P1."""
        return max(0, self.spent + self.held - self.ceiling)


def _bound(outer: Callable[[int, int], int], one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else outer(one, other)


@dataclass(slots=True)
class Lease:
    """One reservation."""

    amount: int
    seconds: int
    posted: int | None = None
    """The settled amount: `None` while held, 0 when voided."""


@dataclass(slots=True)
class Attempt:
    """One attempt of a trial as the books know it."""

    study: str
    trial: int
    number: int
    name: str
    rung: int
    node_class: str
    capacity: str
    resources: Resources
    accounts: tuple[AccountName, ...]
    leases: list[Lease] = field(default_factory=list)
    price: Price | None = None
    """The price in force when it was launched: its cap sized the hold."""
    end: End | None = None
    reason: str = ""
    seconds: int = 0
    started: int = 0
    ended: int = 0
    changes: tuple[Price, ...] = ()
    """Prices since then, while it is open; each is charged from its own moment on."""
    places: tuple[Place, ...] = ()
    """Other places of its pods, while it is open; each is charged from its own moment, before any price."""
    report: str | None = None
    """The SHA-256 of its report, as its `Close` has it."""
    job: str = ""
    """The uid of its Job, once its first pod was seen on a node and while it is open."""
    bound: int = 0
    """Unix seconds at which that pod was bound; 0: none was seen, or the attempt is closed."""

    @property
    def key(self) -> AttemptKey:
        """The study's uid, the trial's number and the attempt's number."""
        return AttemptKey(self.study, self.trial, self.number)

    @property
    def open(self) -> bool:
        """Return whether it holds money, or may."""
        return self.end is None

    @property
    def granted(self) -> int:
        """Seconds of all its leases."""
        return sum(lease.seconds for lease in self.leases)

    @property
    def held(self) -> int:
        """Micro-units still reserved."""
        return sum(lease.amount for lease in self.leases if lease.posted is None)

    @property
    def spent(self) -> int:
        """Micro-units posted."""
        return sum(lease.posted or 0 for lease in self.leases)


@dataclass(slots=True)
class Books:
    """The state after a prefix of the journal."""

    accounts: dict[AccountName, Account] = field(default_factory=dict)
    trials: dict[TrialKey, list[Attempt]] = field(default_factory=dict)
    """Every attempt there was. The order of the trials says nothing."""
    prices: dict[str, Price] = field(default_factory=dict)
    manifests: dict[str, Manifest] = field(default_factory=dict)
    """The last of each study, by its uid."""
    approvals: dict[str, Approval] = field(default_factory=dict)
    """The last of each study, by its uid."""
    open: dict[AttemptKey, Attempt] = field(default_factory=dict)
    closed: list[Attempt] = field(default_factory=list)
    """Closed attempts in the order in which they were closed; none of them changes any more."""
    covered: dict[str, frozenset[str]] = field(default_factory=dict)
    """The budgets that cover each study that has had a lease, by its uid: these are never fewer later."""
    overruns: int = 0
    adjustments: dict[AttemptKey, list[Adjust]] = field(default_factory=dict)
    """Costs found after attempts were closed; closed attempts themselves do not change."""
    takeover: Takeover | None = None
    """The last one."""
    version: object = field(default_factory=object, init=False, repr=False, compare=False)
    """Another one after each entry: while it is the same, nothing in the books has changed."""
    _families: dict[Family, list[AccountName]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """The accounts that belong together, in the order in which they were opened."""
    _open_of: dict[str, dict[int, Attempt]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """Open attempts by study, then trial; a trial has one at most."""
    _numbers: dict[str, set[int]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The numbers of the trials of each study."""
    _shared: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Values that many attempts have, once."""

    def __post_init__(self) -> None:
        """Index the accounts that are there."""
        for name in self.accounts:
            self._index(name)

    def family(self, kind: AccountKind, budget: str) -> Iterable[AccountName]:
        """Return a budget's accounts of one kind, in the order in which they were opened."""
        return self._families.get(Family(kind, budget), ())

    def _index(self, account: AccountName) -> None:
        self._families.setdefault(account.family, []).append(account)

    def attempts(self, study: str, trial: int) -> list[Attempt]:
        """The attempts of a trial, by number."""
        return self.trials.get((study, trial), [])

    def numbers(self, study: str) -> AbstractSet[int]:
        """The numbers of a study's trials that have had an attempt."""
        return self._numbers.get(study, frozenset())

    def open_attempts(self, study: str) -> Iterator[Attempt]:
        """The attempts of a study that are not closed."""
        return iter(self._open_of.get(study, {}).values())

    def spent(self, attempt: Attempt) -> int:
        """Return the micro-units posted for `attempt`, with what was found after it was closed."""
        found = self.adjustments.get(attempt.key, ())
        return attempt.spent + sum(entry.amount for entry in found)

    def billed_seconds(self, attempt: Attempt) -> int:
        """Return the seconds billed for a closed `attempt`, with those found after it was closed."""
        found = self.adjustments.get(attempt.key, ())
        return attempt.seconds + sum(entry.seconds for entry in found)

    def admit(self, attempt: Attempt) -> None:
        """Put in an attempt that follows the others of its trial; its money is in the accounts already."""
        attempt.accounts = self.share(attempt.accounts)
        attempt.resources = self.share(attempt.resources)
        self._attempts_of(attempt.study, attempt.trial).append(attempt)
        if attempt.open:
            self.open[attempt.key] = attempt
            self._open_of.setdefault(attempt.study, {})[attempt.trial] = attempt
        else:
            self.closed.append(attempt)

    def admit_closed(self, attempts: Iterable[Attempt]) -> None:
        """Do as `admit` for very many closed attempts; what they have in common is shared already."""
        trials, closed = self.trials, self.closed
        for attempt in attempts:
            others = trials.get((attempt.study, attempt.trial))
            if others is None:
                others = self._attempts_of(attempt.study, attempt.trial)
            others.append(attempt)
            closed.append(attempt)

    def _attempts_of(self, study: str, trial: int) -> list[Attempt]:
        found = self.trials.get((study, trial))
        if found is None:
            found = self.trials[study, trial] = []
            self._numbers.setdefault(study, set()).add(trial)
        return found

    def share(self, value: T) -> T:
        """The one `value` that all attempts have."""
        shared: T = self._shared.setdefault(value, value)
        return shared

    def touched(self, entry: Entry) -> tuple[AccountName, ...]:
        """The accounts whose sums `entry` can change, given what is folded in so far."""
        match entry:
            case Ceiling():
                return (entry.account,)
            case Transfer():
                return entry.source, entry.target
            case Reserve():
                return entry.accounts
            case Post() | Void():
                attempt = self.open.get(entry.key)
                return attempt.accounts if attempt else ()
            case Adjust():
                closed = self._closed(entry)
                return closed.accounts if closed else ()
            case Price() | Manifest() | Approval() | Membership() | Start() | Place() | Close() | Takeover():
                return ()

    def _closed(self, entry: Adjust) -> Attempt | None:
        attempts = self.attempts(entry.study, entry.trial)
        found = attempts[entry.attempt] if entry.attempt < len(attempts) else None
        return found if found is not None and not found.open else None

    def refusal(self, entries: Iterable[Entry]) -> tuple[Entry, str] | None:
        """The first of `entries`, in this order, that would be rejected, and the rule; changes nothing."""
        entries = tuple(entries)
        part = self._copy_for(entries)
        for entry in entries:
            if (rule := part.apply(entry)) is not None:
                return entry, rule
        return None

    def _copy_for(self, entries: Iterable[Entry]) -> "Books":
        """A copy of the part of the books that `entries` can read or change."""
        part = Books(takeover=self.takeover, covered=dict(self.covered))
        for entry in entries:
            part._borrow(self.touched(entry), self.accounts)
            if isinstance(entry, Price):
                if (price := self.prices.get(entry.node_class)) is not None:
                    part.prices[entry.node_class] = price
            elif isinstance(entry, Manifest):
                if (manifest := self.manifests.get(entry.study)) is not None:
                    part.manifests[entry.study] = manifest
            elif isinstance(entry, Approval):
                if (approval := self.approvals.get(entry.study)) is not None:
                    part.approvals[entry.study] = approval
            elif not isinstance(entry, Ceiling | Transfer | Membership | Takeover):
                part._borrow_attempts((entry.study, entry.trial), self)
        return part

    def _borrow_attempts(self, trial: TrialKey, books: "Books") -> None:
        """Copy a trial's attempts from other books, where they are not here yet."""
        for attempt in () if trial in self.trials else books.trials.get(trial, ()):
            if attempt.open:
                # A price that comes before its `Close` asks for its currency.
                self._borrow(attempt.accounts, books.accounts)
            if (found := books.adjustments.get(attempt.key)) is not None:
                self.adjustments[attempt.key] = list(found)
            self.admit(replace(attempt, leases=[replace(lease) for lease in attempt.leases]))

    def _borrow(self, names: Iterable[AccountName], accounts: dict[AccountName, Account]) -> None:
        """Copies of those of `accounts` that are named, where they are not here yet."""
        for name in names:
            if name in accounts and name not in self.accounts:
                self.accounts[name] = replace(accounts[name])

    def apply(self, entry: Entry) -> str | None:  # noqa: C901, PLR0911, PLR0912  (one row an entry)
        """Fold one entry in; the rule it breaks, if any, and then nothing has changed."""
        self.version = object()
        match entry:
            case Ceiling():
                return self._ceiling(entry)
            case Transfer():
                return self._transfer(entry)
            case Price():
                return self._price(entry)
            case Manifest():
                return self._manifest(entry)
            case Approval():
                return self._approval(entry)
            case Membership():
                return self._membership(entry)
            case Reserve():
                return self._reserve(entry)
            case Start():
                return self._start(entry)
            case Place():
                return self._place(entry)
            case Post() | Void():
                return self._settle(entry)
            case Close():
                return self._close(entry)
            case Adjust():
                return self._adjust(entry)
            case Takeover():
                return self._take_over(entry)

    def _ceiling(self, entry: Ceiling) -> str | None:
        account = self.accounts.get(entry.account)
        if account is None:
            if entry.revision != 0:
                return f"the first ceiling of {entry.account} has revision {entry.revision}, not 0"
            account = self.accounts[entry.account] = Account(entry.currency, entry.amount, entry.amount)
            self._index(entry.account)
            self._declare(account, entry)
            return None
        if entry.revision != account.revision + 1:
            return f"{entry.account} is at revision {account.revision}, {entry.revision} does not follow"
        if entry.currency != account.currency:
            return f"{entry.account} is in {account.currency}, not {entry.currency}"
        self._declare(account, entry)
        return None

    def _declare(self, account: Account, entry: Ceiling) -> None:
        self._outdate(entry.account, entry.starts, entry.ends)
        account.declare(entry)

    def _outdate(self, account: AccountName, starts: int | None, ends: int | None) -> None:
        """Mark the other periods of the budget with days in common: their `carried` is not all any more."""
        if account.kind == "Period":
            for name in self._families.get(account.family, ()):
                if name != account and self.accounts[name].overlaps(starts, ends):
                    self.accounts[name].current = False

    def _transfer(self, entry: Transfer) -> str | None:
        source, target = self.accounts.get(entry.source), self.accounts.get(entry.target)
        if source is None or target is None or source is target:
            return f"there is no transfer from {entry.source} to {entry.target}"
        if source.currency != target.currency:
            return f"{entry.source} is in {source.currency}, {entry.target} in {target.currency}"
        if entry.number != source.transfers:
            return f"{source.transfers} transfers have left {entry.source}, {entry.number} does not follow"
        if entry.amount > source.room:
            return f"{entry.amount} is more than the {source.room} that {entry.source} has room for"
        source.moved, source.transfers = source.moved - entry.amount, source.transfers + 1
        target.moved += entry.amount
        source.settle()
        target.settle()
        return None

    def _price(self, entry: Price) -> str | None:
        known = self.prices.get(entry.node_class)
        expected = known.revision + 1 if known else 0
        if entry.revision != expected:
            return f"the price of {entry.node_class} has revision {entry.revision}, not {expected}"
        if known and entry.since < known.since:
            return f"{entry.since} is before {known.since}, from when {entry.node_class} has its last price"
        self.prices[entry.node_class] = entry
        for attempt in self.open.values():
            if entry.node_class == f"{attempt.node_class}/{self.accounts[attempt.accounts[0]].currency}":
                attempt.changes = (*attempt.changes, entry)
        return None

    def _manifest(self, entry: Manifest) -> str | None:
        known = self.manifests.get(entry.study)
        expected = known.revision + 1 if known else 0
        if entry.revision != expected:
            return f"the manifest of {entry.study} has revision {entry.revision}, not {expected}"
        if known and entry.generation < known.generation:
            return f"the manifest of {entry.study} is of generation {known.generation} already"
        self.manifests[entry.study] = entry
        return None

    def _approval(self, entry: Approval) -> str | None:
        known = self.approvals.get(entry.study)
        expected = known.number + 1 if known else 0
        if entry.number != expected:
            return f"approval {entry.number} of {entry.study} does not follow {expected} others"
        self.approvals[entry.study] = entry
        return None

    def _take_over(self, entry: Takeover) -> str | None:
        expected = self.takeover.number + 1 if self.takeover else 0
        if entry.number != expected:
            return f"takeover {entry.number} does not follow {expected} others"
        self.takeover = entry
        return None

    def _membership(self, entry: Membership) -> str | None:
        known = self.covered.get(entry.study, frozenset())
        if entry.budget in known:
            return f"budget {entry.budget} covers study {entry.study} already"
        self.covered[entry.study] = known | {entry.budget}
        return None

    def _reserve(self, entry: Reserve) -> str | None:
        rule = self._launch_rule(entry) if entry.lease == 0 else self._renewal_rule(entry)
        if rule is None:
            rule = self._room_rule(entry)
        if rule is not None:
            return rule
        for name in entry.accounts:
            self.accounts[name].held += entry.amount
        if entry.lease == 0:
            currency = self.accounts[entry.accounts[0]].currency
            attempt = Attempt(
                *entry.key,
                entry.name,
                entry.rung,
                entry.node_class,
                entry.capacity,
                entry.resources,
                entry.accounts,
                price=self.prices.get(f"{entry.node_class}/{currency}"),
            )
            self.admit(attempt)
            budgets = {budget for account in entry.accounts if (budget := account.budget)}
            self.covered[entry.study] = self.covered.get(entry.study, frozenset()) | budgets
        self.open[entry.key].leases.append(Lease(entry.amount, entry.seconds))
        return None

    def _launch_rule(self, entry: Reserve) -> str | None:
        attempts = self.attempts(entry.study, entry.trial)
        if entry.attempt != len(attempts):
            return f"attempt {entry.attempt} of trial {entry.trial} does not follow {len(attempts)} others"
        if attempts and attempts[-1].open:
            return f"attempt {attempts[-1].number} of trial {entry.trial} is still open"
        return None

    def _renewal_rule(self, entry: Reserve) -> str | None:
        attempt = self.open.get(entry.key)
        if attempt is None:
            return f"attempt {entry.attempt} of trial {entry.trial} is not open"
        if entry.lease != len(attempt.leases):
            return f"lease {entry.lease} does not follow {len(attempt.leases)} others"
        if entry.accounts != attempt.accounts:
            return "a renewal must hold on the accounts of its attempt"
        launched = (attempt.name, attempt.rung, attempt.node_class, attempt.capacity, attempt.resources)
        if launched != (entry.name, entry.rung, entry.node_class, entry.capacity, entry.resources):
            return "a renewal must be for what its attempt was launched as"
        return None

    def _room_rule(self, entry: Reserve) -> str | None:
        if len(set(entry.accounts)) != len(entry.accounts):
            return "a reservation holds on an account once"
        currencies = set()
        for name in entry.accounts:
            account = self.accounts.get(name)
            if account is None:
                return f"{name} has no ceiling"
            if account.spent + account.held + entry.amount > account.limit:
                return f"{entry.amount} does not fit {name}, which has room for {account.room}"
            currencies.add(account.currency)
        if len(currencies) != 1:
            return f"a reservation is in one currency, not {' and '.join(sorted(currencies))}"
        return None

    def _settle(self, entry: Post | Void) -> str | None:
        amount, overrun = (entry.amount, entry.overrun) if isinstance(entry, Post) else (0, False)
        attempt = self.open.get(entry.key)
        if attempt is None or entry.lease >= len(attempt.leases):
            return f"lease {entry.lease} of attempt {entry.attempt} of trial {entry.trial} is not held"
        lease = attempt.leases[entry.lease]
        if lease.posted is not None:
            return f"lease {entry.lease} of attempt {entry.attempt} of trial {entry.trial} is settled already"
        if (amount > lease.amount) != overrun:
            return f"{amount} posted against {lease.amount} held, overrun={overrun}"
        lease.posted = amount
        self.overruns += overrun
        for name in attempt.accounts:
            account = self.accounts[name]
            account.held -= lease.amount
            account.spent += amount
            account.settle()
        return None

    def _close(self, entry: Close) -> str | None:
        attempt = self.open.get(entry.key)
        if attempt is None:
            return f"attempt {entry.attempt} of trial {entry.trial} is not open"
        if any(lease.posted is None for lease in attempt.leases):
            return f"attempt {entry.attempt} of trial {entry.trial} still holds money"
        attempt.end, attempt.reason, attempt.seconds = entry.end, entry.reason, entry.seconds
        attempt.report = entry.report
        attempt.started, attempt.ended, attempt.changes = entry.started, entry.ended, ()
        attempt.job, attempt.bound, attempt.places = "", 0, ()
        del self.open[entry.key]
        del self._open_of[entry.study][entry.trial]
        if not self._open_of[entry.study]:
            del self._open_of[entry.study]
        self.closed.append(attempt)
        return None

    def _start(self, entry: Start) -> str | None:
        attempt = self.open.get(entry.key)
        if attempt is None:
            return f"attempt {entry.attempt} of trial {entry.trial} is not open"
        if attempt.bound:
            return f"attempt {entry.attempt} of trial {entry.trial} has started already"
        attempt.job, attempt.bound = entry.job, entry.at
        return None

    def _place(self, entry: Place) -> str | None:
        attempt = self.open.get(entry.key)
        if attempt is None:
            return f"attempt {entry.attempt} of trial {entry.trial} is not open"
        if entry.number != len(attempt.places):
            return f"place {entry.number} does not follow {len(attempt.places)} others"
        if attempt.places and entry.since < attempt.places[-1].since:
            return f"{entry.since} is before {attempt.places[-1].since}, from when it has its last place"
        attempt.places = (*attempt.places, entry)
        return None

    def _adjust(self, entry: Adjust) -> str | None:
        attempt = self._closed(entry)
        if attempt is None:
            return f"attempt {entry.attempt} of trial {entry.trial} is not closed"
        found = self.adjustments.get(entry.key, [])
        if entry.number != len(found):
            return f"adjustment {entry.number} does not follow {len(found)} others"
        self.adjustments[entry.key] = [*found, entry]
        self.overruns += 1
        for name in attempt.accounts:
            account = self.accounts[name]
            account.spent += entry.amount
            account.settle()
            self._outdate(name, account.earliest, account.latest)
        return None
