"""The cost of attempts where they run: the price of their node, not of the requested capacity."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from comptroller.ledger.books import Attempt
from comptroller.ledger.entries import Place
from comptroller.pricing import PriceBook, Quote
from comptroller.pricing.rates import HourlyRates
from comptroller.world import World

_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Landed:
    """A kind of node and what the attempt costs there."""

    node_class: str
    capacity: str
    rates: HourlyRates


def missing_places(world: World, prices: PriceBook) -> Iterator[Place]:
    """Yield the entries that the books lack on attempts whose pods are not where they were meant to run.

    An attempt whose pods are, or whose nodes are not known, needs none: its node selector put it there. A
    price that is too old for a launch is charged all the same, as that of the attempt's own class is.
    """
    prices = prices.of_any_age()
    for key, attempt in sorted(world.books.open.items()):
        run = world.runs.get(key)
        if run is None or not run.nodes or attempt.price is None:
            continue
        currency = world.books.accounts[attempt.accounts[0]].currency
        wanted = (attempt.node_class, attempt.capacity)
        if not isinstance(prices.price(*wanted, currency), Quote):
            continue  # nothing says today which nodes those are
        found = max(
            (landed for labels in run.nodes for landed in _kinds(prices, attempt, currency, labels)),
            # Of several the dearest; of those that cost the same, the requested one.
            key=lambda landed: (
                landed.rates.cost(attempt.resources, _HOUR),
                (landed.node_class, landed.capacity) == wanted,
            ),
        )
        where = (found.node_class, found.capacity)
        if not attempt.places and where == wanted:
            continue
        rates = found.rates.written(found.capacity)
        known = attempt.places[-1] if attempt.places else None
        if known is not None and (known.node_class, known.capacity, known.rates) == (*where, rates):
            continue
        yield Place(
            study=attempt.study,
            trial=attempt.trial,
            attempt=attempt.number,
            number=len(attempt.places),
            node_class=found.node_class,
            capacity=found.capacity,
            rates=rates,
            # A pod does not move: what is seen first was so from its start.
            since=max(known.since, world.now) if known else 0,
        )


def _kinds(prices: PriceBook, attempt: Attempt, currency: str, labels: Mapping[str, str]) -> Iterator[Landed]:
    """The kinds of node that a node's labels may stand for; of a node that no list knows, the cap."""
    kinds = prices.kinds(labels, currency)
    for node_class, capacity in kinds:
        quote = prices.price(node_class, capacity, currency, attempt.resources)
        if isinstance(quote, Quote):
            yield Landed(node_class, capacity, quote.rates)
        else:
            yield Landed("", "Cap", _held_at(attempt))
    if not kinds:
        yield Landed("", "Cap", _held_at(attempt))


def trouble(attempt: Attempt) -> str:
    """Return a sentence on an attempt that does not run where it was meant to; empty where it does."""
    if not attempt.places:
        return ""
    place = attempt.places[-1]
    if not place.node_class:
        return (
            f"its node is of no node class that a PriceList prices: it is billed at the cap of"
            f" {attempt.node_class}"
        )
    if (place.node_class, place.capacity) == (attempt.node_class, attempt.capacity):
        return ""
    return f"its node is {place.capacity} capacity of node class {place.node_class}, and is billed as that"


def dearer(attempt: Attempt) -> bool:
    """Return whether an attempt costs more on its node than its leases hold."""
    if not attempt.places or attempt.price is None:
        return False
    place, resources = attempt.places[-1], attempt.resources
    rates = HourlyRates.read(place.rates, place.capacity, resources.gpus)
    return rates.cost(resources, _HOUR) > _held_at(attempt).cost(resources, _HOUR)


def _held_at(attempt: Attempt) -> HourlyRates:
    assert attempt.price is not None  # noqa: S101 - the caller has looked
    return HourlyRates.read(attempt.price.rates, "Cap", attempt.resources.gpus)
