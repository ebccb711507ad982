"""Prices that are read from a feed, and the rates that follow from one price of a machine.

A feed gives rates, never caps: those are the price list's own, and size leases.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from comptroller.pricing.rates import HourlyRates
from comptroller_api.money import ceil_div

Spread: TypeAlias = tuple[tuple[int, int], ...]
"""Pairs of a probability and a price, ascending: with that probability, in percent, the price is at most that
many percent of the price of now."""

_MIB = 1024
"""The MiB of a GiB."""
_POINTS = (5, 25, 50, 75, 95, 100)
"""Percent, at which a history is summarised."""


class FeedError(Exception):
    """A source has no price that could be used; the message gives the source and the reason."""


@dataclass(frozen=True, slots=True)
class Fresh:
    """The cost of one capacity now."""

    rates: HourlyRates
    since: int
    """Unix seconds from which it has been in force."""
    spread: Spread = ()


@dataclass(frozen=True, slots=True)
class Fed:
    """A source's answer for one node class. `None`: the source offers no such capacity."""

    as_of: int
    """Unix seconds of the source's answer; its age counts from here."""
    on_demand: Fresh | None
    spot: Fresh | None
    failure: str = ""
    """The reason why the source had no price at the last query, after `as_of`."""


@dataclass(frozen=True, slots=True)
class Unfed:
    """The reason why nothing is known of a node class."""

    why: str


Feed: TypeAlias = Mapping[tuple[str, str], Fed | Unfed]
"""Answers by the names of the price list and of the node class."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The resources of a whole machine."""

    gpus: int
    cores: int
    memory_mib: int


def split(price: int, shape: Shape, cap: HourlyRates) -> HourlyRates:
    """The rates by which a whole machine costs `price` micro-units an hour, in the proportions of `cap`.

    So they reach the cap when the price reaches what the cap says of the whole machine. Rounded up.

    Raises:
        FeedError: the cap charges for nothing that the machine has.
    """
    gpu_cap, cpu_cap, memory_cap = cap.gpu or 0, cap.cpu or 0, cap.memory_gib or 0
    whole = _MIB * (gpu_cap * shape.gpus + cpu_cap * shape.cores) + memory_cap * shape.memory_mib
    if whole == 0:
        raise FeedError("its cap charges for nothing that the machine has")
    gpu, cpu, memory = (
        None if rate is None else ceil_div(rate * price * _MIB, whole)
        for rate in (cap.gpu, cap.cpu, cap.memory_gib)
    )
    return HourlyRates(gpu, cpu, memory)


def spread(history: Iterable[tuple[int, int]], now: int) -> Spread:
    """Quantiles of a price's history, as percent of `now`.

    Args:
        history: prices, each with the seconds for which it was in force, in any order.
        now: the price of now, more than 0.
    """
    ordered = sorted((price, seconds) for price, seconds in history if seconds > 0)
    total = sum(seconds for _, seconds in ordered)
    if not total:
        return ()
    return tuple((point, ceil_div(100 * _quantile(ordered, total * point), now)) for point in _POINTS)


def _quantile(ordered: list[tuple[int, int]], wanted: int) -> int:
    """The least price under which the history was for `wanted` hundredths of a second."""
    seconds = 0
    for price, lasted in ordered:
        seconds += lasted
        if 100 * seconds >= wanted:
            return price
    return ordered[-1][0]
