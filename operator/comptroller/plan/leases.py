"""Leases: how long an attempt may run on what there is room for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Attempt
from comptroller.ledger.entries import Price, Reserve
from comptroller.ledger.names import attempt_name
from comptroller.plan import prices as known
from comptroller.plan.accounts import Purse, purses
from comptroller.pricing import PriceBook, Quote, Unpriced
from comptroller.world import Run, World
from comptroller_api import quantity
from comptroller_api.money import to_amount
from comptroller_api.study import Study

_SILENCE = 60
"""Seconds without a heartbeat from which an attempt gets no more leases."""
PERIOD: Final = "period"
"""The reason that blocks a lease that would cross the end of a budget's period."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A lease that fits, or what blocks it: an account without room, or `PERIOD`."""

    seconds: int
    amount: int
    accounts: tuple[AccountName, ...] = ()
    blocked: AccountName | Literal["period"] | None = None


class Leases:
    """The leases of one study, and the room that they leave: other studies draw on the same budgets."""

    def __init__(
        self, world: World, study: Study, prices: PriceBook, room: Mapping[AccountName, int]
    ) -> None:
        """Read the study's terms; `room` has the micro-units that each account has left before this study."""
        runtime = study.spec.runtime
        terms = runtime.lease
        self.currency = study.spec.ceilings.spend.currency
        self.quote, _ = hedged(study, prices)
        self.purses = purses(world, study)
        self.grace = quantity.seconds(terms.grace_period)
        self.overhead = self.grace + quantity.seconds(terms.slack)
        """Seconds reserved beyond the lease, for the enforcers."""
        self._world, self._study, self._prices, self._room = world, study, prices, dict(room)
        self._duration = quantity.seconds(terms.duration)
        self._longest = quantity.seconds(terms.longest_attempt)
        # A shorter lease would be spent on starting and stopping.
        self._least = min(self._duration, max(self.overhead, self._duration // 4))

    @property
    def left(self) -> Mapping[AccountName, int]:
        """Micro-units that each account has left after the leases that were granted so far."""
        return self._room

    @property
    def guarded(self) -> bool:
        """Return whether the study's image runs under our guard, which keeps to a lease that is renewed.

        Any other run is ended by its pod's own deadline, which nobody can raise: it has one lease, and its
        work continues in another attempt.
        """
        image = self._study.spec.runtime.image
        return image is None or image == self._world.trainer_image or self._world.site.is_guarded(image)

    @property
    def priced(self) -> Quote:
        """The quote of a study that is Active, and so has one."""
        if not isinstance(self.quote, Quote):
            raise TypeError(self.quote.message)
        return self.quote

    def missing_price(self) -> Price | None:
        """The entry that the books lack before anything is launched."""
        return known.missing_price(self._world.books, self.priced, self._world.now)

    @property
    def tightest(self) -> AccountName:
        """Return the account with the least room of those that would pay for a lease now."""
        return self._tightest(self._paying())

    def _tightest(self, paid_from: tuple[Purse, ...]) -> AccountName:
        return min(paid_from, key=lambda purse: self._room.get(purse.account, 0)).account

    @property
    def room(self) -> int:
        """Micro-units that all of these accounts have room for."""
        return self._room.get(self.tightest, 0)

    def fit(self) -> Fit:
        """The lease that a new attempt could have now."""
        resources, paid_from = self._study.spec.runtime.resources, self._paying()
        tightest = self._tightest(paid_from)
        room = self._room.get(tightest, 0)
        affordable = self.priced.affordable_seconds(resources, room) - self.overhead
        if affordable < self._least:
            return Fit(0, 0, (), tightest)
        seconds = min(self._duration, affordable, self._until_boundary(paid_from, self._world.now))
        if seconds < self._least:
            return Fit(0, 0, (), PERIOD)
        amount = self.priced.worst(resources, seconds + self.overhead)
        return Fit(seconds, amount, tuple(purse.account for purse in paid_from))

    def shortage(self) -> str:
        """Say what the accounts have no room for."""
        return f"no room for a lease, which holds at least {to_amount(self._least_hold)} {self.currency}"

    @cached_property
    def _least_hold(self) -> int:
        """Micro-units of the shortest lease that may be."""
        return self.priced.worst(self._study.spec.runtime.resources, self._least + self.overhead)

    def _paying(self) -> tuple[Purse, ...]:
        return tuple(self._first_that_pays(options) for options in self.purses)

    def _first_that_pays(self, options: tuple[Purse, ...]) -> Purse:
        """The first account with room for the shortest lease that may be; else the last."""
        shortest = self._least + self.overhead
        for purse in options[:-1]:
            open_for = purse.ends is None or purse.ends - self._world.now >= shortest
            if open_for and self._room.get(purse.account, 0) >= self._least_hold:
                return purse
        return options[-1]

    def affordable(self) -> int:
        """Return how many such leases there is room for, at most."""
        fit = self.fit()
        if fit.blocked is not None:
            return 0
        return min(self._room[name] for name in fit.accounts) // fit.amount if fit.amount else 2**31

    def first(self, trial: int, attempt: int, rung: int) -> Reserve | None:
        """The lease that launches an attempt, where one fits."""
        fit = self.fit()
        if fit.blocked is not None:
            return None
        meta, runtime = self._study.metadata, self._study.spec.runtime
        return self._take(
            Reserve(
                study=meta.uid,
                trial=trial,
                attempt=attempt,
                lease=0,
                name=attempt_name(meta.name, meta.uid, trial, attempt),
                rung=rung,
                node_class=runtime.node_class,
                capacity=self.priced.capacity,
                resources=runtime.resources,
                accounts=fit.accounts,
                amount=fit.amount,
                seconds=fit.seconds,
            )
        )

    def renewal(  # noqa: PLR0911  (a decision table)
        self, attempt: Attempt, run: Run
    ) -> Reserve | None:
        """The next lease of a run at half-time, where one fits."""
        if self._study.spec.runtime.lease.renewal != "Renew" or not self.guarded or run.started is None:
            return None
        if run.scheduled is None or run.exit.message or not run.begun:
            return None  # it has no node, or did not start there: another lease would buy nothing
        if run.exit.disruption or silent(run):
            return None  # its node is lost, or going: a grant would not reach it
        if self._world.now < run.started + attempt.granted - self._duration // 2:
            return None
        quote = self._prices.quote(attempt.node_class, attempt.capacity, self.currency, attempt.resources)
        paid_from = self._still_paid_from(attempt)
        if paid_from is None or not isinstance(quote, Quote):
            return None
        if attempt.price is None or not known.same_cap(attempt.price, quote):
            return None  # another cap sizes leases: the next attempt is held at the new one
        seconds = min(
            self._duration,
            quote.affordable_seconds(attempt.resources, min(self._room[name] for name in attempt.accounts)),
            self._until_boundary(paid_from, run.started + attempt.granted),
            self._longest - attempt.granted,
        )
        if seconds < self._least:
            return None
        return self._take(
            Reserve(
                study=attempt.study,
                trial=attempt.trial,
                attempt=attempt.number,
                lease=len(attempt.leases),
                name=attempt.name,
                rung=attempt.rung,
                node_class=attempt.node_class,
                capacity=attempt.capacity,
                resources=attempt.resources,
                accounts=attempt.accounts,
                amount=quote.worst(attempt.resources, seconds),
                seconds=seconds,
            )
        )

    def launchable(self, attempt: Attempt) -> bool:
        """Return whether a lease that was given may still be used.

        It must not cross the end of a period, and the terms it was sized by must still be the study's.
        """
        runtime = self._study.spec.runtime
        paid_from = self._still_paid_from(attempt)
        terms = (runtime.node_class, self.priced.capacity, runtime.resources)
        if paid_from is None or terms != (attempt.node_class, attempt.capacity, attempt.resources):
            return False
        if attempt.price is None or not known.same_cap(attempt.price, self.priced):
            return False
        if self.priced.worst(attempt.resources, attempt.granted + self.overhead) > attempt.held:
            return False
        return self._until_boundary(paid_from, self._world.now) >= min(attempt.granted, self._duration)

    def too_late(self, attempt: Attempt) -> bool:
        """Return whether an attempt that has not begun would, if it began now, run in another period."""
        paid_from = self._still_paid_from(attempt)
        ends = [purse.ends for purse in paid_from or () if purse.ends is not None]
        return paid_from is None or (bool(ends) and self._world.now + attempt.granted > min(ends))

    def _still_paid_from(self, attempt: Attempt) -> tuple[Purse, ...] | None:
        """The purses it holds on, where they are those of today's ceilings."""
        if len(attempt.accounts) != len(self.purses):
            return None
        found = [
            next((purse for purse in options if purse.account == account), None)
            for account, options in zip(attempt.accounts, self.purses, strict=True)
        ]
        return tuple(purse for purse in found if purse is not None) if None not in found else None

    def _until_boundary(self, paid_from: tuple[Purse, ...], start: int) -> int:
        ends = [purse.ends for purse in paid_from if purse.ends is not None]
        return min(ends) - start - self.overhead if ends else self._duration

    def _take(self, lease: Reserve) -> Reserve:
        for name in lease.accounts:
            self._room[name] -= lease.amount
        return lease


def silent(run: Run) -> bool:
    """Return whether a run has sent no heartbeat for so long that its node may be lost."""
    return run.silent_seconds > _SILENCE


def hedged(study: Study, prices: PriceBook) -> tuple[Quote | Unpriced, Quote | None]:
    """Return the quote of the requested capacity; of on-demand if spot costs more of it than is declared.

    Of spot capacity that is taken, also the on-demand quote that it is left for once it costs more.
    """
    runtime, currency = study.spec.runtime, study.spec.ceilings.spend.currency
    quote = prices.quote(runtime.node_class, runtime.capacity, currency, runtime.resources)
    if runtime.capacity != "Spot" or runtime.hedge is None or not isinstance(quote, Quote):
        return quote, None
    firm = prices.quote(runtime.node_class, "OnDemand", currency, runtime.resources)
    if not isinstance(firm, Quote):
        return quote, None
    spot_hour, firm_hour = (q.cost(runtime.resources, 3600) for q in (quote, firm))
    return (firm, None) if spot_hour * 100 > firm_hour * runtime.hedge else (quote, firm)
