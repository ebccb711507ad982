"""A price list's status: whether each capacity that it offers has a price, and if not why."""

from collections.abc import Iterable, Iterator

from comptroller.pricing import Fed, Feed, PriceBook, Unpriced
from comptroller.status import condition
from comptroller_api.meta import Condition
from comptroller_api.pricelist import PriceList, PriceListStatus

READY = "Ready"
_SHOWN = 3
"""Reasons that a condition has room for."""


def price_list_status(prices: PriceList, lists: Iterable[PriceList], feed: Feed, now: int) -> PriceListStatus:
    """Return the status to publish.

    Args:
        prices: as observed; its condition keeps its time where its status does not change.
        lists: every list of the cluster, since two of them may price one class.
        feed: what feeds have answered.
        now: unix seconds.
    """
    wrong = list(_unpriced(prices, lists, feed, now))
    count = len(prices.spec.node_classes)
    if wrong:
        reason = wrong[0].reason
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        message = "; ".join(one.message for one in wrong[:_SHOWN]) + more
    elif failing := _failing(prices, feed):
        reason, message = "LastPrices", f"the last prices are used: {failing}"
    else:
        reason = "Priced"
        message = f"{count} node {'class has a price' if count == 1 else 'classes have a price'}"
    present = prices.status.conditions if prices.status else []
    known = next((one for one in present if one.type == READY), None)
    return _status(known, not wrong, reason, message, prices.metadata.generation, now)


def _failing(prices: PriceList, feed: Feed) -> str:
    """Return why the source of a list, which has answered before, has no newer price."""
    for one in prices.spec.node_classes:
        fed = feed.get((prices.metadata.name, one.name))
        if isinstance(fed, Fed) and fed.failure:
            return f"{prices.spec.source} has none for node class {one.name!r}: {fed.failure}"
    return ""


def refused_status(known: Condition | None, why: str, generation: int, now: int) -> PriceListStatus:
    """Return the status of a list that cannot be read, so that nothing of it has a price."""
    return _status(known, False, "Refused", why, generation, now)  # noqa: FBT003 - it is not ready


def _status(
    known: Condition | None, ready: bool, reason: str, message: str, generation: int, now: int
) -> PriceListStatus:
    found = condition(known, READY, ready, reason, message, generation, now)
    return PriceListStatus(observed_generation=generation, conditions=[found])


def _unpriced(prices: PriceList, lists: Iterable[PriceList], feed: Feed, now: int) -> Iterator[Unpriced]:
    """Yield why offered capacities have no price, in the list alone or together with the other lists."""
    alone, together = PriceBook([prices], now, feed), PriceBook(lists, now, feed)
    fed = prices.spec.source != "Static"
    for one in prices.spec.node_classes:
        offers = {"OnDemand": fed or one.on_demand is not None, "Spot": one.spot is not None}
        for capacity in (name for name, offered in offers.items() if offered):
            quote = alone.quote(one.name, capacity, prices.spec.currency)
            if not isinstance(quote, Unpriced):
                quote = together.quote(one.name, capacity, prices.spec.currency)
                if isinstance(quote, Unpriced) and quote.reason != "AmbiguousPrice":
                    continue  # another list has its place, and says so itself
            if isinstance(quote, Unpriced):
                yield quote
