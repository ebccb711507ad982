"""The price book: the price lists of a cluster, folded into one quote for each node class."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from operator import is_
from types import MappingProxyType
from typing import TypeAlias

from comptroller.pricing.fed import Fed, Feed, Fresh, Spread, Unfed
from comptroller.pricing.rates import HourlyRates, metered
from comptroller_api import quantity
from comptroller_api.money import ceil_div, to_amount, to_micro
from comptroller_api.pricelist import (
    FLOOR_PERCENT,
    Capacity,
    GpuProfile,
    NodeClass,
    PriceList,
    Toleration,
)
from comptroller_api.study import WHOLE_GPU, Resources

__all__ = ["HourlyRates", "PriceBook", "Quote", "Unpriced", "metered"]

_HOUR = 3600
_MOST_QUOTES = 4096
_NOTHING: Feed = MappingProxyType({})

Entry: TypeAlias = tuple[PriceList, NodeClass]


@dataclass(frozen=True, slots=True)
class Unpriced:
    """The reason why a node class has no price; nothing is launched on it (P6)."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Quote:
    """The cost of one capacity of a node class today, and the most it may ever cost."""

    node_class: str
    capacity: str
    currency: str
    node_selector: dict[str, str]
    rates: HourlyRates
    cap: HourlyRates
    since: int
    """Unix seconds from which it is true."""
    spread: Spread = ()
    """The distribution of its rates, by their history or as declared; empty if unknown."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints of its nodes."""

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
        lists = tuple(lists)
        self._stale = frozenset(_stale(lists, now, feed))
        self._quotes: dict[tuple[str, str, str, Resources | None], Quote | Unpriced] = {}
        self._known: dict[tuple[str, str], list[Entry]] = {}
        self._wanted: dict[str, list[tuple[tuple[str, str], dict[str, str]]]] = {}
        self._lists, self._feed = lists, feed
        self._of_any_age: PriceBook | None = None
        for prices in sorted(lists, key=lambda p: p.metadata.name):
            for node_class in prices.spec.node_classes:
                key = (node_class.name, prices.spec.currency)
                self._known.setdefault(key, []).append((prices, node_class))

    def of_any_age(self) -> "PriceBook":
        """Return the same book with prices that are too old to launch at, which what runs is billed by."""
        if not self._stale:
            return self
        if self._of_any_age is None:
            self._of_any_age = PriceBook(self._lists, 0, self._feed)  # at a time at which none is too old
        return self._of_any_age

    def quote(
        self, node_class: str, capacity: str, currency: str, resources: Resources | None = None
    ) -> Quote | Unpriced:
        """Return what pods with `resources` are launched at, or why they are not."""
        key = (node_class, capacity, currency, resources)
        if (known := self._quotes.get(key)) is not None:
            return known
        found = self.price(*key)
        if isinstance(found, Quote) and resources is not None:
            found = self._strayed(found, resources) or found
        if len(self._quotes) >= _MOST_QUOTES:
            self._quotes.clear()
        self._quotes[key] = found
        return found

    def price(
        self, node_class: str, capacity: str, currency: str, resources: Resources | None = None
    ) -> Quote | Unpriced:
        """Return the price of a capacity of `node_class`, or why `resources` have none there."""
        entry = self._entry(node_class, capacity, currency)
        if isinstance(entry, Unpriced):
            return entry
        priced = self._priced(entry, capacity, WHOLE_GPU if resources is None else resources.gpus)
        if isinstance(priced, Unpriced):
            return priced
        if resources is not None and (unwritten := _unwritten(entry, priced, resources)) is not None:
            return unwritten
        return self._plausible(entry, priced)

    def kinds(self, labels: Mapping[str, str], currency: str) -> list[tuple[str, str]]:
        """Return the node classes and capacities that a node with `labels` may be of.

        Those that ask for more labels than another are more exact, and stand for it.
        """
        found = [
            (kind, wanted) for kind, wanted in self._selectors(currency) if wanted.items() <= labels.items()
        ]
        return [
            kind for kind, wanted in found if not any(wanted.items() < other.items() for _, other in found)
        ]

    def _selectors(self, currency: str) -> list[tuple[tuple[str, str], dict[str, str]]]:
        """Return the labels by which pods select each capacity that has one list."""
        if currency not in self._wanted:
            self._wanted[currency] = [
                ((name, capacity), selector(entry[1], capacity))
                for name, its in self._known
                for capacity in ("OnDemand", "Spot")
                if its == currency and not isinstance(entry := self._entry(name, capacity, its), Unpriced)
            ]
        return self._wanted[currency]

    def _strayed(self, quote: Quote, resources: Resources) -> Unpriced | None:
        """Return why pods are not launched whose selector lets them come to nodes that cost more.

        Those of a class that selects the same labels or more, unless a taint keeps the pods away.
        """
        held = quote.cap.cost(resources, _HOUR)
        for (name, capacity), wanted in self._selectors(quote.currency):
            if name == quote.node_class or not quote.node_selector.items() <= wanted.items():
                continue
            entry = self._entry(name, capacity, quote.currency)
            if isinstance(entry, Unpriced) or _kept_away(tolerations(entry[1], capacity), quote.tolerations):
                continue
            cap = _cap(entry[1], resources)
            if cap is not None and not cap.lacks(resources) and cap.cost(resources, _HOUR) > held:
                return Unpriced(
                    "AmbiguousNodes",
                    f"pods of node class {quote.node_class!r} may run on nodes of {name!r}, whose cap is"
                    f" higher: give {quote.node_class!r} a nodeSelector that {name!r} does not match, or"
                    f" {name!r} the tolerations of its nodes' taints",
                )
        return None

    def _entry(self, node_class: str, capacity: str, currency: str) -> Entry | Unpriced:
        """Return the entry of the list that prices a capacity, or why there is not exactly one."""
        known = self._known.get((node_class, currency), [])
        if not known:
            return Unpriced("NoPrice", f"no PriceList prices node class {node_class!r} in {currency}")
        found = [entry for entry in known if self._offers(entry, capacity)]
        if not found:
            return Unpriced(
                "NoPrice",
                f"node class {node_class!r} has no {_word(capacity)} price{_way_out(known, capacity)}",
            )
        rank = max(prices.spec.priority for prices, _ in found)
        first, *others = [entry for entry in found if entry[0].spec.priority == rank]
        if others:
            names = ", ".join(prices.metadata.name for prices, _ in (first, *others))
            return Unpriced(
                "AmbiguousPrice",
                f"node class {node_class!r} is priced by several lists of priority {rank}: {names}",
            )
        return first

    def _offers(self, entry: Entry, capacity: str) -> bool:
        """Return whether the list prices this capacity, or may once its feed has answered."""
        prices, node_class = entry
        declared = _capacity(node_class, capacity)
        if prices.spec.source == "Static":
            return declared is not None
        if capacity == "Spot" and declared is None:
            return False  # nothing says which nodes are spot capacity
        fed = self._feed.get((prices.metadata.name, node_class.name))
        return not isinstance(fed, Fed) or _of(fed, capacity) is not None

    def _priced(self, entry: Entry, capacity: str, gpu_resource: str) -> Quote | Unpriced:
        prices, node_class = entry
        if capacity == "Spot" and not tells_spot_apart(node_class, prices.spec.source):
            return Unpriced(
                "AmbiguousNodes",
                f"nothing tells the spot nodes of node class {node_class.name!r} from its on-demand ones:"
                f" give spot.nodeSelector in PriceList {prices.metadata.name!r} a label that only spot nodes"
                " carry",
            )
        fresh = self._fresh(entry, capacity)
        if isinstance(fresh, Unpriced):
            return fresh
        cap = HourlyRates.of(node_class.cap)
        rates = _with_storage(fresh.rates, prices, node_class, capacity).priced_in(cap)
        if gpu_resource != WHOLE_GPU:
            profile = next((p for p in node_class.gpu_profiles if p.resource == gpu_resource), None)
            gpu = _of_profile(profile, prices, capacity, rates.gpu, cap.gpu)
            if profile is None or gpu is None:
                message = f"node class {node_class.name!r} has no {_word(capacity)} price of {gpu_resource}"
                return Unpriced("NoPrice", message)
            rates = replace(rates, gpu=gpu, gpu_resource=gpu_resource)
            cap = replace(cap, gpu=to_micro(profile.cap), gpu_resource=gpu_resource)
        return Quote(
            node_class.name,
            capacity,
            prices.spec.currency,
            selector(node_class, capacity),
            rates,
            cap,
            fresh.since,
            fresh.spread,
            tolerations(node_class, capacity),
        )

    def _fresh(self, entry: Entry, capacity: str) -> Fresh | Unpriced:
        """Return the cost now, unless the price is too old to be believed."""
        prices, node_class = entry
        name, max_age = prices.metadata.name, prices.spec.max_age
        if prices.spec.source == "Static":
            as_of, fresh = _declared(prices, node_class, capacity)
        else:
            fed = self._feed.get((name, node_class.name), Unfed("it has not been read yet"))
            if isinstance(fed, Unfed):
                why = f"{prices.spec.source} has no price for PriceList {name!r}: {fed.why}"
                return Unpriced("NoPrice", f"node class {node_class.name!r} has no price: {why}")
            as_of, fresh = fed.as_of, _of(fed, capacity)
        if (name, node_class.name) in self._stale:
            stamp = f"{datetime.fromtimestamp(as_of, UTC):%Y-%m-%dT%H:%M:%SZ}"
            return Unpriced(
                "StalePrice",
                f"the price of node class {node_class.name!r} in PriceList {name!r} is of {stamp}, over its"
                f" maxAge {max_age}",
            )
        return fresh or Unpriced("NoPrice", f"node class {node_class.name!r} has no {_word(capacity)} price")

    @staticmethod
    def _plausible(entry: Entry, quote: Quote) -> Quote | Unpriced:
        """Return the quote unless its price is above its cap, or comes from a feed and is far below it.

        Clamped to the cap, a price would bill less than is paid; and feeds that fail answer 0.
        """
        prices, node_class = entry
        subject = f"the {_word(quote.capacity)} price of node class {quote.node_class!r}"
        where = f"in PriceList {prices.metadata.name!r}"
        for rate, price, cap in quote.rates.over(quote.cap):
            return Unpriced(
                "PriceAboveCap",
                f"{subject} is {to_amount(price)} {quote.currency} for an hour of {rate}, above the cap"
                f" {to_amount(cap)} {where}",
            )
        if prices.spec.source == "Static":
            return quote  # a person wrote it
        percent = node_class.floor_percent or FLOOR_PERCENT
        for rate, price, floor in quote.rates.under(quote.cap, percent):
            return Unpriced(
                "ImplausiblePrice",
                f"{subject} is {to_amount(price)} {quote.currency} for an hour of {rate}, as"
                f" {prices.spec.source} has it, under the floor {to_amount(floor)}, which is {percent}% of"
                f" its cap {where}: if that is the price, lower floorPercent",
            )
        return quote


def selector(node_class: NodeClass, capacity: str) -> dict[str, str]:
    """Return the labels of the nodes of a capacity: those of its class, and its own."""
    own = _capacity(node_class, capacity)
    return {**node_class.node_selector, **(own.node_selector if own else {})}


def tolerations(node_class: NodeClass, capacity: str) -> tuple[Toleration, ...]:
    """Return the taints of the nodes of a capacity: those of its class, and its own."""
    own = _capacity(node_class, capacity)
    return (*node_class.tolerations, *(own.tolerations if own else ()))


def _kept_away(taints: Iterable[Toleration], tolerated: Iterable[Toleration]) -> bool:
    """Return whether one of the taints, each written as what tolerates it, is certainly not tolerated."""
    firm = [taint for taint in taints if taint.effect != "PreferNoSchedule"]
    return any(not any(_may_tolerate(one, taint) for one in tolerated) for taint in firm)


def _may_tolerate(one: Toleration, taint: Toleration) -> bool:
    effects, operators = {one.effect, taint.effect}, {one.operator, taint.operator}
    same_value = "Exists" in operators or (one.value or "") == (taint.value or "")
    return one.key == taint.key and same_value and (None in effects or len(effects) == 1)


def tells_spot_apart(node_class: NodeClass, source: str) -> bool:
    """Return whether a label says which nodes of a class are spot capacity.

    Without one a spot pod could run on an on-demand node, at the price of a spot node.
    """
    if source == "Static" and node_class.on_demand is None:
        return True  # all of them are
    firm, spot = (selector(node_class, capacity) for capacity in ("OnDemand", "Spot"))
    return not spot.items() <= firm.items()


def _cap(node_class: NodeClass, resources: Resources) -> HourlyRates | None:
    """Return the cap of a class for `resources`; `None` where it has none of their GPUs."""
    cap = HourlyRates.of(node_class.cap)
    if not resources.gpu or resources.gpus == WHOLE_GPU:
        return cap
    profile = next((one for one in node_class.gpu_profiles if one.resource == resources.gpus), None)
    if profile is None:
        return None
    return replace(cap, gpu=to_micro(profile.cap), gpu_resource=resources.gpus)


def _capacity(node_class: NodeClass, capacity: str) -> Capacity | None:
    return node_class.spot if capacity == "Spot" else node_class.on_demand


def _way_out(known: list[Entry], capacity: str) -> str:
    if capacity != "Spot" or all(prices.spec.source == "Static" for prices, _ in known):
        return ""
    names = ", ".join(
        repr(p.metadata.name) for p, one in known if p.spec.source != "Static" and one.spot is None
    )
    return (
        f": PriceList {names} does not say which of its nodes are spot; write spot.nodeSelector"
        if names
        else ""
    )


def _unwritten(entry: Entry, quote: Quote, resources: Resources) -> Unpriced | None:
    """Return why `resources` have no price, where a rate that they need is not written."""
    prices, node_class = entry
    uncapped, unpriced = quote.cap.lacks(resources), quote.rates.lacks(resources)
    if not uncapped and not unpriced:
        return None
    field = "spot" if quote.capacity == "Spot" else "onDemand"
    missing = [f"cap.{name}" for name in uncapped]
    if prices.spec.source == "Static":
        missing += [f"{field}.{name}" for name in unpriced]
    if missing:
        way_out = f'write {" and ".join(missing)} in PriceList {prices.metadata.name!r}, "0" if it is free'
    else:
        way_out = f"{prices.spec.source} has none, for PriceList {prices.metadata.name!r}"
    what = " and ".join(dict.fromkeys((*uncapped, *unpriced)))
    return Unpriced(
        "NoPrice",
        f"node class {node_class.name!r} has no {_word(quote.capacity)} price of {what}: {way_out}",
    )


def _with_storage(rates: HourlyRates, prices: PriceList, node_class: NodeClass, capacity: str) -> HourlyRates:
    """Return the rates with that of storage: feeds price machines, so it is the list's own, or its cap."""
    if prices.spec.source == "Static":
        return rates
    declared = _capacity(node_class, capacity)
    amount = (declared.storage_gib if declared else None) or node_class.cap.storage_gib
    return replace(rates, storage_gib=None if amount is None else to_micro(amount))


def _word(capacity: str) -> str:
    return "spot" if capacity == "Spot" else "on-demand"


def _of(fed: Fed, capacity: str) -> Fresh | None:
    return fed.spot if capacity == "Spot" else fed.on_demand


def _declared(prices: PriceList, node_class: NodeClass, capacity: str) -> tuple[int, Fresh | None]:
    """Return when the list's own prices were true, and the price of this capacity."""
    spot = capacity == "Spot"
    declared = node_class.spot if spot else node_class.on_demand
    as_of = _unix(prices.spec.as_of) if prices.spec.as_of else 0
    if declared is None:
        return as_of, None
    points = tuple(sorted((q.at, q.percent) for q in node_class.spot_quantiles)) if spot else ()
    return as_of, Fresh(HourlyRates.of(declared), as_of, points)


@lru_cache(maxsize=1024)
def _unix(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp).timestamp())


def _stale(lists: Iterable[PriceList], now: int, feed: Feed) -> Iterator[tuple[str, str]]:
    """Yield the lists, and their node classes, whose prices are too old to be believed."""
    for prices in lists:
        if prices.spec.max_age is None:
            continue
        oldest = now - quantity.seconds(prices.spec.max_age)
        for node_class in prices.spec.node_classes:
            if prices.spec.source == "Static":
                as_of = _unix(prices.spec.as_of) if prices.spec.as_of else 0
            else:
                fed = feed.get((prices.metadata.name, node_class.name))
                as_of = fed.as_of if isinstance(fed, Fed) else oldest
            if as_of < oldest:
                yield prices.metadata.name, node_class.name


class Shelf:
    """Keeps the last price book: most passes have the same lists and feeds, and no price has become stale."""

    def __init__(self) -> None:
        """Keep none yet."""
        self._last: tuple[tuple[PriceList, ...], Feed, frozenset[tuple[str, str]], PriceBook] | None = None

    def book(self, lists: tuple[PriceList, ...], now: int, feed: Feed) -> PriceBook:
        """Return `PriceBook(lists, now, feed)`."""
        last, stale = self._last, frozenset(_stale(lists, now, feed))
        if (
            last is not None
            and len(last[0]) == len(lists)
            and all(map(is_, last[0], lists))
            and (last[1], last[2]) == (feed, stale)
        ):
            return last[3]
        book = PriceBook(lists, now, feed)
        self._last = (lists, dict(feed), stale, book)
        return book


def _of_profile(
    profile: GpuProfile | None, prices: PriceList, capacity: str, gpu: int | None, cap: int | None
) -> int | None:
    """Micro-units of an hour of a profile; fed, it moves with the price of a whole GPU."""
    if profile is None:
        return None
    if prices.spec.source == "Static":
        amount = profile.spot if capacity == "Spot" else profile.on_demand
        return None if amount is None else to_micro(amount)
    return ceil_div(to_micro(profile.cap) * gpu, cap) if cap and gpu is not None else None
