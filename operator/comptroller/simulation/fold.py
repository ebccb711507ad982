"""The ledger's rules once more, apart from the ledger: the oracle must not share what it looks for."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from comptroller.ledger.entries import (
    Adjust,
    Ceiling,
    Close,
    Entry,
    Place,
    Post,
    Price,
    Reserve,
    Start,
    Transfer,
    Void,
)
from comptroller.ledger.names import AttemptKey, TrialKey
from comptroller_api import quantity
from comptroller_api.study import Resources

_HOUR = 3600
_MEBI = 2**20


_UNIT = ("gpu", "cpu", "memoryGiB")
_UNITS = _HOUR * 1000 * 1024


def _parts(rates: dict[str, int], kind: str, resources: Resources) -> int:
    """Return the cost of a second of one pod, in `_UNITS` parts of a micro-unit."""
    cpu = rates.get(f"{kind}.cpu", 0) * quantity.milli(resources.cpu) * 1024
    memory = rates.get(f"{kind}.memoryGiB", 0) * (quantity.whole(resources.memory) // _MEBI) * 1000
    gpu = rates.get(f"{kind}.gpu", 0) * resources.gpu * 1000 * 1024
    return cpu + memory + gpu


@dataclass
class Account:
    """The limits and balances of an account. Micro-units."""

    currency: str
    requested: int
    ceiling: int
    revision: int = 0
    spent: int = 0
    held: int = 0
    moved: int = 0
    transfers: int = 0
    beyond: int = 0
    """The amount that was spent beyond its hold because somebody tampered with an attempt."""
    elsewhere: int = 0
    """The amount that the budget's other periods spent and hold within this one's days."""

    @property
    def limit(self) -> int:
        """Return the amount that it may spend and hold."""
        return self.requested + self.moved - self.elsewhere


@dataclass
class Hold:
    """A lease."""

    amount: int
    seconds: int
    posted: int | None = None


@dataclass
class Held:
    """An attempt in the books."""

    key: AttemptKey
    first: Reserve
    prices: list[Price]
    """Prices in force at its launch, and since then until it was closed."""
    holds: list[Hold] = field(default_factory=list)
    closed: Close | None = None
    began: bool = False
    """The books know the Job that it runs as."""
    late: int = 0
    """Micro-units that were found after it was closed."""
    places: list[Place] = field(default_factory=list)
    """The places of its pods, if not where they were meant to run."""

    @property
    def granted(self) -> int:
        """Seconds of all leases."""
        return sum(hold.seconds for hold in self.holds)

    @property
    def covered(self) -> int:
        """Micro-units held or posted for it."""
        return sum(hold.amount if hold.posted is None else hold.posted for hold in self.holds)

    def cost(self, spans: Iterable[tuple[int, int]]) -> int:
        """Micro-units of pods' times: at each moment the last price charged then, rounded up once.

        None is charged above the cap that the hold was sized by. Pods on nodes of another class cost what
        those nodes cost.
        """
        return -(-sum(self._parts(begin, end) for begin, end in spans) // _UNITS)

    def _parts(self, begin: int, end: int) -> int:
        (_, first), *changes = self._charged
        charged = [(0, first), *changes]
        moments = sorted({begin, end, *(since for since, _ in charged if begin < since < end)})
        parts = 0
        for since, until in itertools.pairwise(moments):
            rates = next(rates for moment, rates in reversed(charged) if moment <= since)
            parts += _parts(rates, "Charged", self.first.resources) * (until - since)
        return parts

    @property
    def _charged(self) -> list[tuple[int, dict[str, int]]]:
        """The rates that are charged, each from a moment on."""
        if not self.places:
            return [(price.since, self._rates(price.rates, self.first.capacity)) for price in self.prices]
        return [
            (
                place.since,
                self._rates(
                    place.rates, place.capacity, capped=place.node_class in {"", self.first.node_class}
                ),
            )
            for place in self.places
        ]

    def _rates(self, written: dict[str, int], kind: str, *, capped: bool = True) -> dict[str, int]:
        found = {unit: written[f"{kind}.{unit}"] for unit in _UNIT if f"{kind}.{unit}" in written}
        cap = self.prices[0].rates
        if capped:
            found = {unit: min(r, cap[f"Cap.{unit}"]) for unit, r in found.items() if f"Cap.{unit}" in cap}
        return {f"Charged.{unit}": rate for unit, rate in found.items()}

    def worst(self, seconds: int) -> int:
        """Micro-units that so many seconds may cost at most."""
        resources = self.first.resources
        return -(-_parts(self.prices[0].rates, "Cap", resources) * resources.pods * seconds // _UNITS)


@dataclass
class Fold:
    """The books as they must be after every entry."""

    accounts: dict[str, Account] = field(default_factory=dict)
    attempts: dict[AttemptKey, Held] = field(default_factory=dict)
    prices: dict[str, Price] = field(default_factory=dict)
    tampered: Callable[[AttemptKey], bool] = lambda _key: False
    """Returns whether somebody changed an attempt's objects, so that it may have run beyond its hold."""
    _count: dict[TrialKey, int] = field(default_factory=dict)

    def apply(self, entry: Entry) -> str | None:
        """Fold an entry in; what is wrong with it, if anything."""
        match entry:
            case Ceiling():
                wrong = self._ceiling(entry)
            case Transfer():
                wrong = self._transfer(entry)
            case Price():
                wrong = self._price(entry)
            case Reserve():
                wrong = self._reserve(entry)
            case Post() | Void():
                wrong = self._settle(entry)
            case Close():
                wrong = self._close(entry)
            case Start() if entry.key in self.attempts:
                self.attempts[entry.key].began, wrong = True, None
            case Place():
                wrong = self._place(entry)
            case Adjust():
                wrong = self._adjust(entry)
            case _:
                wrong = None
        return wrong or self._over()

    def _over(self) -> str | None:
        for name, account in self.accounts.items():
            if account.spent + account.held > account.ceiling + account.beyond:
                return f"{name} has {account.spent} spent and {account.held} held of {account.ceiling}"
        return None

    def _ceiling(self, entry: Ceiling) -> str | None:
        account = self.accounts.get(entry.account)
        if account is None:
            account = self.accounts[entry.account] = Account(entry.currency, entry.amount, entry.amount)
            account.elsewhere = entry.carried + entry.pending
            _lower(account)
            return None if entry.revision == 0 else "the first ceiling is not revision 0"
        if (entry.revision, entry.currency) != (account.revision + 1, account.currency):
            return "the ceiling does not follow the one before"
        account.revision, account.requested = entry.revision, entry.amount
        account.elsewhere = entry.carried + entry.pending
        _lower(account)
        return None

    def _transfer(self, entry: Transfer) -> str | None:
        source, target = self.accounts.get(entry.source), self.accounts.get(entry.target)
        if source is None or target is None or source.currency != target.currency:
            return "it moves money between what is not there"
        if entry.number != source.transfers:
            return "the transfer does not follow the one before"
        if entry.amount > source.limit - source.spent - source.held:
            return "it takes more than there is"
        source.moved, source.transfers = source.moved - entry.amount, source.transfers + 1
        target.moved += entry.amount
        _lower(source)
        _lower(target)
        return None

    def _price(self, entry: Price) -> str | None:
        known = self.prices.get(entry.node_class)
        self.prices[entry.node_class] = entry
        for held in self.attempts.values():
            if held.closed is None and held.prices[0].node_class == entry.node_class:
                held.prices.append(entry)
        return None if entry.revision == (known.revision + 1 if known else 0) else "the price does not follow"

    def _reserve(self, entry: Reserve) -> str | None:
        for name in entry.accounts:
            account = self.accounts.get(name)
            if account is None:
                return f"{name} has no ceiling"
            if account.spent + account.held + entry.amount > account.limit:
                return f"{entry.amount} does not fit {name}"
            account.held += entry.amount
        if len(set(entry.accounts)) != len(entry.accounts):
            return "it holds twice on one account"
        hold = Hold(entry.amount, entry.seconds)
        if entry.lease == 0:
            return self._launch(entry, hold)
        attempt = self.attempts.get(entry.key)
        if attempt is None or attempt.closed is not None or entry.lease != len(attempt.holds):
            return "it renews what is not open"
        attempt.holds.append(hold)
        return None

    def _launch(self, entry: Reserve, hold: Hold) -> str | None:
        trial = entry.key.of_trial
        count = self._count.get(trial, 0)
        if entry.attempt != count:
            return f"it is attempt {entry.attempt}, and there were {count}"
        if count and self.attempts[AttemptKey(*trial, count - 1)].closed is None:
            return "the attempt before it is open"
        self._count[trial] = count + 1
        price = self.prices.get(f"{entry.node_class}/{self.accounts[entry.accounts[0]].currency}")
        if price is None:
            return "it has no price"
        self.attempts[entry.key] = Held(entry.key, entry, [price], [hold])
        return None

    def _settle(self, entry: Post | Void) -> str | None:
        attempt = self.attempts.get(entry.key)
        if attempt is None or attempt.closed is not None or entry.lease >= len(attempt.holds):
            return "it settles what is not held"
        hold = attempt.holds[entry.lease]
        if hold.posted is not None:
            return "it settles what is settled"
        hold.posted = entry.amount if isinstance(entry, Post) else 0
        beyond = max(0, hold.posted - hold.amount)
        if beyond and not self.tampered(entry.key):
            return f"{hold.posted} is posted and {hold.amount} was held"
        for name in attempt.first.accounts:
            account = self.accounts[name]
            account.beyond += beyond
            account.held -= hold.amount
            account.spent += hold.posted
            _lower(account)
        return None

    def _close(self, entry: Close) -> str | None:
        attempt = self.attempts.get(entry.key)
        if attempt is None or attempt.closed is not None:
            return "it closes what is not open"
        if any(hold.posted is None for hold in attempt.holds):
            return "it closes what still holds money"
        attempt.closed = entry
        return None

    def _place(self, entry: Place) -> str | None:
        attempt = self.attempts.get(entry.key)
        if attempt is None or attempt.closed is not None or entry.number != len(attempt.places):
            return "it says where something runs that is not open"
        attempt.places.append(entry)
        return None

    def _adjust(self, entry: Adjust) -> str | None:
        attempt = self.attempts.get(entry.key)
        if attempt is None or attempt.closed is None:
            return "it adjusts what is not closed"
        attempt.late += entry.amount
        for name in attempt.first.accounts:
            self.accounts[name].spent += entry.amount
            self.accounts[name].beyond += entry.amount if self.tampered(entry.key) else 0
            _lower(self.accounts[name])
        return None


def _lower(account: Account) -> None:
    account.ceiling = max(account.limit, min(account.ceiling, account.spent + account.held))
