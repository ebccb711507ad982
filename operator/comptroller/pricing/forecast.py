"""A study's cost: worst case, expected, how many trials fit, and the probability that all of them do.

Nothing is made up. Callers give the duration of an epoch; without one, only the bounds by leases and ceilings
are known. The spread of prices is declared by a price list, or comes from their history.
"""

import random
from bisect import bisect_right, insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from comptroller.pricing.book import Quote
from comptroller.pricing.fed import Spread
from comptroller.pricing.rates import HourlyRates
from comptroller_api import quantity
from comptroller_api.money import ceil_div, to_amount, to_micro
from comptroller_api.study import Study

DRAWS = 200
"""Equally likely prices, and durations: a chance is counted over all pairs of them."""
OF_STUDY = "the study's ceiling"
"""The name of the limit that a study sets for itself."""
_ORDERS = 64
"""Orders in which results may come in."""
_MANY = 256
"""Results beyond which the share of promoted trials is taken as constant."""


@dataclass(frozen=True, slots=True)
class Durations:
    """The durations of work, as callers measured them."""

    shortest: int
    longest: int
    """Milliseconds of an epoch; anything from one to the other is as likely."""
    attempt: int = 0
    """Seconds of each attempt outside its epochs: the image, the data, the export."""

    def scaled(self, percent: int) -> "Durations":
        """Return the durations at `percent` of themselves, rounded up."""
        shortest, longest, attempt = (
            ceil_div(part * percent, 100) for part in (self.shortest, self.longest, self.attempt)
        )
        return Durations(shortest, longest, attempt)


@dataclass(frozen=True, slots=True)
class Limit:
    """A ceiling over the study, in micro-units."""

    name: str
    amount: int

    @classmethod
    def of_study(cls, study: Study) -> "Limit":
        """Return the study's own ceiling."""
        return cls(OF_STUDY, to_micro(study.spec.ceilings.spend.amount))


@dataclass(frozen=True, slots=True)
class Stage:
    """The attempts of one phase that end one rung; money in micro-units, of all of them."""

    phase: str
    rung: int
    epochs: int
    """The epochs that each of them trains."""
    attempts: int
    expected: int | None
    attempts_worst: int
    worst: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """The forecast for a study; money in micro-units. `None`: it depends on durations that nobody gave."""

    currency: str
    limit: Limit
    """The tightest."""
    trials: int
    """Planned."""
    hold: int
    """Micro-units held by as many trials as may run at the same time, each for one lease."""
    worst: int
    """The cost at the cap, with the longest durations, no trial pruned, every retry used, and no limit."""
    expected: int | None
    """The cost at the price of now and the mean duration, with pruning and no limit."""
    fit_worst: int
    fit_expected: int | None
    """Trials that the limit pays for."""
    chance: int | None
    """Percent of the draws in which all planned trials fit, rounded down."""
    seconds: int | None
    """Expected, from begin to end, were as many trials running all the time as may."""
    stages: tuple[Stage, ...]
    refusal: str = ""
    """The reason why nothing can run, if so."""


@dataclass(frozen=True)
class _Shape:
    """The amount of work, apart from its cost."""

    study: Study

    @property
    def epochs(self) -> list[int]:
        """Return the epochs that each rung adds."""
        ends = self.study.spec.search.rungs.epochs
        return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]

    @property
    def longest(self) -> int:
        """Seconds of the longest attempt there can be."""
        terms = self.study.spec.runtime.lease
        return quantity.seconds(terms.duration if terms.renewal == "Never" else terms.longest_attempt)

    def contestants(self, trials: int) -> list[int]:
        """Expected attempts at each rung, of all trials but the baseline."""
        rungs = self.study.spec.search.rungs
        found = [max(0, trials - 1)]
        for _ in rungs.epochs[1:]:
            found.append(promoted(found[-1], rungs.eta))
        return found

    def seconds(self, epochs: int, durations: Durations | None, milliseconds: int) -> int:
        """Return the seconds for training `epochs`, in as many attempts as that needs."""
        if durations is None:
            return self.longest
        work = ceil_div(epochs * milliseconds, 1000)
        attempts = max(1, ceil_div(work, max(1, self.longest - durations.attempt)))
        return work + attempts * durations.attempt


@cache
def promoted(results: int, eta: int) -> int:
    """Return how many of `results` are promoted to the next rung, on average, rounded up.

    Halving is asynchronous: a trial among the best 1/eta of the results so far is promoted, and better trials
    that come later do not call it back. So it is more than 1/eta. All orders of results are equally likely;
    some are drawn, always the same.
    """
    if results < eta:
        return results
    if results > _MANY:
        return ceil_div(promoted(_MANY, eta) * results, _MANY)
    total = sum(_promoted(results, eta, random.Random(seed)) for seed in range(_ORDERS))
    return ceil_div(total, _ORDERS)


def _promoted(results: int, eta: int, rng: random.Random) -> int:
    best: list[int] = []
    waiting: set[int] = set()
    gone_on = 0
    for count, quality in enumerate(rng.sample(range(results), results), 1):
        insort(best, quality)
        waiting.add(quality)
        going_on = waiting.intersection(best[: count // eta])
        gone_on += len(going_on)
        waiting -= going_on
        if count >= 2 * eta:  # enough to give up on the lower half
            waiting.difference_update(best[(count + 1) // 2 :])
    return gone_on


@dataclass(frozen=True)
class Case:
    """A study under one set of prices and durations."""

    study: Study
    quote: Quote
    limits: Sequence[Limit]
    durations: Durations | None = None
    firm: Quote | None = None
    """The on-demand quote for which a study with a hedge leaves spot capacity."""

    def forecast(self) -> Forecast:
        """Return the forecast."""
        search, limit, least = self.study.spec.search, self._limit, self._least
        refusal = self.refusal()
        short = bool(refusal)
        # The last attempt needs room for a lease, whatever of it is used.
        room = limit.amount - max(0, least - self._cost(self.quote.rates, self._of_rung(0, self._mean)))
        known = self.durations is not None
        return Forecast(
            currency=self.quote.currency,
            limit=limit,
            trials=search.trials,
            hold=search.parallel * self._cost(self.quote.cap, self._duration + self._overhead),
            worst=self._worst(search.trials),
            expected=self._expected(search.trials) if known else None,
            fit_worst=0 if short else self._fit(self._worst, limit.amount),
            fit_expected=(0 if short else self._fit(self._expected, room)) if known else None,
            chance=(0 if short else self._chance(room)) if known else None,
            seconds=ceil_div(self._seconds(search.trials, self._mean), search.parallel) if known else None,
            stages=tuple(self._stages()),
            refusal=refusal,
        )

    def refusal(self) -> str:
        """Return why nothing can run: the tightest limit has no room for one lease; empty if it has."""
        if self._least <= self._limit.amount:
            return ""
        return (
            f"a lease holds at least {to_amount(self._least)} {self.quote.currency}, and {self._limit.name}"
            f" has {to_amount(self._limit.amount)}"
        )

    # -- seconds -------------------------------------------------------------------------------------------

    @property
    def _shape(self) -> _Shape:
        return _Shape(self.study)

    @property
    def _duration(self) -> int:
        return quantity.seconds(self.study.spec.runtime.lease.duration)

    @property
    def _overhead(self) -> int:
        terms = self.study.spec.runtime.lease
        return quantity.seconds(terms.grace_period) + quantity.seconds(terms.slack)

    @property
    def _mean(self) -> int:
        return (self.durations.shortest + self.durations.longest) // 2 if self.durations else 0

    @property
    def _longest(self) -> int:
        return self.durations.longest if self.durations else 0

    def _of_rung(self, rung: int, milliseconds: int) -> int:
        return self._shape.seconds(self._shape.epochs[rung], self.durations, milliseconds)

    def _seconds(self, trials: int, milliseconds: int) -> int:
        """Expected, of `trials` in all, the first of which is the baseline and ends every rung."""
        counts = self._shape.contestants(trials)
        return sum((count + 1) * self._of_rung(rung, milliseconds) for rung, count in enumerate(counts))

    # -- money ---------------------------------------------------------------------------------------------

    @property
    def _limit(self) -> Limit:
        """The tightest."""
        return min(self.limits, key=lambda one: one.amount)

    @property
    def _least(self) -> int:
        """The cost of the shortest lease that may be, at the cap."""
        shortest = min(self._duration, max(self._overhead, self._duration // 4))
        return self._cost(self.quote.cap, shortest + self._overhead)

    def _cost(self, rates: HourlyRates, seconds: int) -> int:
        return rates.cost(self.study.spec.runtime.resources, seconds)

    def _expected(self, trials: int) -> int:
        return self._cost(self.quote.rates, self._seconds(trials, self._mean))

    def _worst(self, trials: int) -> int:
        rungs = [self._of_rung(rung, self._longest) for rung in range(len(self._shape.epochs))]
        retries = self.study.spec.runtime.retries * max(rungs)
        return self._cost(self.quote.cap, trials * (sum(rungs) + retries))

    def _fit(self, cost: Callable[[int], int], room: int) -> int:
        """The most trials, of those planned, whose cost is within `room`."""
        return bisect_right(range(1, self.study.spec.search.trials + 1), room, key=cost)

    def _chance(self, room: int) -> int:
        """Percent of all pairs of a price and a duration in which every planned trial is paid for.

        Each is drawn once for the whole study, and independently of the other. Were every attempt to draw its
        own, they would even out: the real spread is narrower, unless days are dear and slow together.
        """
        trials, terms = self.study.spec.search.trials, self.durations
        assert terms is not None  # noqa: S101 - called only if they are known
        span = terms.longest - terms.shortest
        seconds = [
            self._seconds(trials, terms.shortest + span * (2 * draw + 1) // (2 * DRAWS))
            for draw in range(DRAWS)
        ]
        paid = sum(
            bisect_right(seconds, room, key=lambda s, r=rates: self._cost(r, s))  # type: ignore[misc]
            for rates in self._prices()
        )
        return 100 * paid // DRAWS**2

    def _prices(self) -> Iterator[HourlyRates]:
        """Equally likely rates; none over the cap, since nothing is launched there."""
        hedge = self.study.spec.runtime.hedge
        for draw in range(DRAWS):
            percent = quantile(self.quote.spread, 100 * (2 * draw + 1), 2 * DRAWS)
            rates = self.quote.rates.scaled(percent).at_most(self.quote.cap)
            if hedge is not None and self.firm is not None:
                firm = self._cost(self.firm.rates, 3600)
                rates = self.firm.rates if self._cost(rates, 3600) * 100 > firm * hedge else rates
            yield rates

    def _stages(self) -> Iterator[Stage]:
        counts, trials = self._shape.contestants(self.study.spec.search.trials), self.study.spec.search.trials
        for phase, attempts, most in (
            ("Baseline", [1] * len(counts), 1),
            ("Search", counts, trials - 1),
        ):
            for rung, count in enumerate(attempts):
                expected, worst = self._of_rung(rung, self._mean), self._of_rung(rung, self._longest)
                yield Stage(
                    phase=phase,
                    rung=rung,
                    epochs=self._shape.epochs[rung],
                    attempts=count,
                    expected=self._cost(self.quote.rates, count * expected) if self.durations else None,
                    attempts_worst=most,
                    worst=self._cost(self.quote.cap, most * worst),
                )


def quantile(spread: Spread, at: int, of: int = 1) -> int:
    """Percent of the price of now that it is at most with a probability of `at / of` percent.

    Between two points it is on the line between them; outside all of them it is what the nearest says.
    """
    if not spread:
        return 100
    before = (0, spread[0][1])
    for point, percent in (*spread, (100, spread[-1][1])):
        if at <= point * of:
            width = (point - before[0]) * of
            gone = at - before[0] * of
            return before[1] + (ceil_div((percent - before[1]) * gone, width) if width else 0)
        before = (point, percent)
    return before[1]
