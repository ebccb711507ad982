"""Mistakes in prices: which exist, for what, and when they are charged."""

from typing import Any

from comptroller.plan import namespace
from comptroller.pricing import Quote, book
from comptroller.pricing.rates import HourlyRates
from comptroller_api.pricelist import PriceList
from mutants.planted.registry import Patch, mutant


@mutant
def held_at_the_price_of_the_day(patch: Patch) -> None:
    """A lease holds its price of today, and not its highest possible price."""
    patch.setattr(Quote, "worst", Quote.cost)


@mutant
def billed_above_the_cap_it_was_held_at(patch: Patch) -> None:
    """A price above the cap that sized the hold is billed in full."""
    patch.setattr(HourlyRates, "at_most", lambda self, _cap: self)


@mutant
def billed_as_what_was_asked_for(patch: Patch) -> None:
    """M13: capacities have no nodes of their own, and the requested capacity decides the price."""
    patch.setattr(book, "selector", lambda node_class, _capacity: dict(node_class.node_selector))
    patch.setattr(book, "tolerations", lambda node_class, _capacity: tuple(node_class.tolerations))
    patch.setattr(book, "tells_spot_apart", lambda *_: True)
    patch.setattr(namespace, "missing_places", lambda *_: iter(()))


@mutant
def an_unwritten_rate_is_zero(patch: Patch) -> None:
    """M11: a resource that a price list does not price is free."""
    patch.setattr(HourlyRates, "lacks", lambda _self, _resources: [])


@mutant
def prices_never_age(patch: Patch) -> None:
    """A price never expires."""
    init = book.PriceBook.__init__

    def ageless(self: book.PriceBook, lists: Any, *rest: Any) -> None:
        init(self, [_without_age(prices) for prices in lists], *rest)

    patch.setattr(book.PriceBook, "__init__", ageless)


def _without_age(prices: PriceList) -> PriceList:
    return prices.model_copy(update={"spec": prices.spec.model_copy(update={"max_age": None})})


@mutant
def a_feed_is_believed(patch: Patch) -> None:
    """M14: a feed's answer is the price, even a thousandth of the cap."""
    patch.setattr(book.PriceBook, "_plausible", staticmethod(lambda _entry, quote: quote))


@mutant
def the_node_is_not_looked_at(patch: Patch) -> None:
    """A pod that ran on a node of another class costs what it requested."""
    patch.setattr(namespace, "missing_places", lambda *_: iter(()))
