"""The price book: the price lists of a cluster, folded into one quote for each node class."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TypeAlias

from comptroller.pricing.fed import Fed, Feed, Fresh, Spread, Unfed
from comptroller.pricing.rates import HourlyRates, metered
from comptroller_api import quantity
from comptroller_api.money import ceil_div, to_amount, to_micro
from comptroller_api.pricelist import GpuProfile, NodeClass, PriceList
from comptroller_api.study import WHOLE_GPU, Resources

__all__ = ["HourlyRates", "PriceBook", "Quote", "Unpriced", "metered"]

_HOUR = 3600
_NOTHING: Feed = MappingProxyType({})

Entry: TypeAlias = tuple[PriceList, NodeClass]


@dataclass(frozen=True, slots=True)
class Unpriced:
    """Why a node class has no price; nothing is launched on it (P6)."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What one capacity of a node class costs today, and the most it may ever cost."""

    node_class: str
    capacity: str
    currency: str
    node_selector: dict[str, str]
    rates: HourlyRates
    cap: HourlyRates
    since: int
    """Unix seconds from which it is true."""
    spread: Spread = ()
    """How its rates are distributed, by their history or as declared; nothing where nothing is known."""

    def worst(self, resources: Resources, seconds: int) -> int:
        """Micro-units to hold for `seconds`, at the cap."""
        return self.cap.cost(resources, seconds)

    def cost(self, resources: Resources, seconds: int) -> int:
        """Micro-units to bill for `seconds`."""
        return self.rates.cost(resources, seconds)

    def affordable_seconds(self, resources: Resources, room: int) -> int:
        """The most seconds whose worst case fits in `room` micro-units."""
        per_hour = self.cap.cost(resources, _HOUR)
        if per_hour == 0:
            return 2**31
        seconds = room * _HOUR // per_hour
        # Rounding up inside `worst` can pass the estimate by a second's worth.
        while seconds > 0 and self.worst(resources, seconds) > room:
            seconds -= 1
        return seconds


class PriceBook:
    """Quotes by node class, currency, capacity, and what a GPU is."""

    def __init__(self, lists: Iterable[PriceList], now: int, feed: Feed = _NOTHING) -> None:
        """Fold `lists` and what feeds say of them; `now` (unix seconds) decides which are stale."""
        self._known: dict[tuple[str, str], list[Entry]] = {}
        self._now = now
        self._feed = feed
        for prices in sorted(lists, key=lambda p: p.metadata.name):
            for node_class in prices.spec.node_classes:
                key = (node_class.name, prices.spec.currency)
                self._known.setdefault(key, []).append((prices, node_class))

    def quote(
        self, node_class: str, capacity: str, currency: str, gpu_resource: str = WHOLE_GPU
    ) -> Quote | Unpriced:
        """The price of `node_class`, or why there is none."""
        found = self._known.get((node_class, currency), [])
        if not found:
            return Unpriced("NoPrice", f"no PriceList prices node class {node_class!r} in {currency}")
        found = [entry for entry in found if self._offers(entry, capacity)]
        if not found:
            return Unpriced("NoPrice", f"node class {node_class!r} has no {_said(capacity)} price")
        rank = max(prices.spec.priority for prices, _ in found)
        first, *others = [entry for entry in found if entry[0].spec.priority == rank]
        if others:
            names = ", ".join(prices.metadata.name for prices, _ in (first, *others))
            return Unpriced(
                "AmbiguousPrice",
                f"node class {node_class!r} is priced by several lists of priority {rank}: {names}",
            )
        priced = self._priced(first, capacity, gpu_resource)
        return priced if isinstance(priced, Unpriced) else self._within_cap(first, priced)

    def _offers(self, entry: Entry, capacity: str) -> bool:
        """Whether the list means to price this capacity; a feed that says nothing of it yet may."""
        prices, node_class = entry
        if prices.spec.source == "Static":
            return (node_class.spot if capacity == "Spot" else node_class.on_demand) is not None
        fed = self._feed.get((prices.metadata.name, node_class.name))
        return not isinstance(fed, Fed) or _of(fed, capacity) is not None

    def _priced(self, entry: Entry, capacity: str, gpu_resource: str) -> Quote | Unpriced:
        fresh = self._fresh(entry, capacity)
        if isinstance(fresh, Unpriced):
            return fresh
        prices, node_class = entry
        rates, cap = fresh.rates, HourlyRates.of(node_class.cap)
        if gpu_resource != WHOLE_GPU:
            profile = next((p for p in node_class.gpu_profiles if p.resource == gpu_resource), None)
            gpu = _of_profile(profile, prices, capacity, rates.gpu, cap.gpu)
            if profile is None or gpu is None:
                message = f"node class {node_class.name!r} has no {_said(capacity)} price of {gpu_resource}"
                return Unpriced("NoPrice", message)
            rates = replace(rates, gpu=gpu, gpu_resource=gpu_resource)
            cap = replace(cap, gpu=to_micro(profile.cap), gpu_resource=gpu_resource)
        return Quote(
            node_class.name,
            capacity,
            prices.spec.currency,
            dict(node_class.node_selector),
            rates,
            cap,
            fresh.since,
            fresh.spread,
        )

    def _fresh(self, entry: Entry, capacity: str) -> Fresh | Unpriced:
        """What it costs now, unless that is too old to be believed."""
        prices, node_class = entry
        name, max_age = prices.metadata.name, prices.spec.max_age
        if prices.spec.source == "Static":
            as_of, fresh = _declared(prices, node_class, capacity)
        else:
            fed = self._feed.get((name, node_class.name), Unfed("it has not been asked yet"))
            if isinstance(fed, Unfed):
                why = f"{prices.spec.source} has no price for PriceList {name!r}: {fed.why}"
                return Unpriced("NoPrice", f"node class {node_class.name!r} has no price: {why}")
            as_of, fresh = fed.as_of, _of(fed, capacity)
        if max_age is not None and self._now - as_of > quantity.seconds(max_age):
            stamp = f"{datetime.fromtimestamp(as_of, UTC):%Y-%m-%dT%H:%M:%SZ}"
            return Unpriced(
                "StalePrice",
                f"the price of node class {node_class.name!r} in PriceList {name!r} is of {stamp}, over its"
                f" maxAge {max_age}",
            )
        return fresh or Unpriced("NoPrice", f"node class {node_class.name!r} has no {_said(capacity)} price")

    @staticmethod
    def _within_cap(entry: Entry, quote: Quote) -> Quote | Unpriced:
        """A price over its cap is refused: clamped, it would bill less than is paid."""
        if not (over := quote.rates.over(quote.cap)):
            return quote
        rate, price, cap = over[0]
        return Unpriced(
            "PriceAboveCap",
            f"the {_said(quote.capacity)} price of node class {quote.node_class!r} is {to_amount(price)}"
            f" {quote.currency} for an hour of {rate}, above the cap {to_amount(cap)} in PriceList"
            f" {entry[0].metadata.name!r}",
        )


def _said(capacity: str) -> str:
    return "spot" if capacity == "Spot" else "on-demand"


def _of(fed: Fed, capacity: str) -> Fresh | None:
    return fed.spot if capacity == "Spot" else fed.on_demand


def _declared(prices: PriceList, node_class: NodeClass, capacity: str) -> tuple[int, Fresh | None]:
    """When the list's own prices were true, and the one of this capacity."""
    spot = capacity == "Spot"
    declared = node_class.spot if spot else node_class.on_demand
    as_of = int(datetime.fromisoformat(prices.spec.as_of).timestamp()) if prices.spec.as_of else 0
    if declared is None:
        return as_of, None
    points = tuple(sorted((q.at, q.percent) for q in node_class.spot_quantiles)) if spot else ()
    return as_of, Fresh(HourlyRates.of(declared), as_of, points)


def _of_profile(
    profile: GpuProfile | None, prices: PriceList, capacity: str, gpu: int, cap: int
) -> int | None:
    """Micro-units of an hour of a profile; fed, it moves with the price of a whole GPU."""
    if profile is None:
        return None
    if prices.spec.source == "Static":
        amount = profile.spot if capacity == "Spot" else profile.on_demand
        return None if amount is None else to_micro(amount)
    return ceil_div(to_micro(profile.cap) * gpu, cap) if cap else None
