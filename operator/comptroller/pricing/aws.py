"""Prices of AWS, read from answers of its API; this module sends no request.

`GetProducts` of the Price List API gives each product as a JSON text with its attributes and terms.
`DescribeSpotPriceHistory` of EC2 gives the moments at which a zone's spot price changed, and the one before
the start, which was in force then.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from itertools import pairwise
from typing import Any

from comptroller.pricing.fed import FeedError, Shape, Spread, spread
from comptroller_api.money import MICRO, to_amount

PRODUCTS = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "preInstalledSw": "NA",
    "licenseModel": "No License required",
    "marketoption": "OnDemand",
}
"""The terms of a request that, with region and instance type, leave one offer."""
SPOT = "Linux/UNIX"
"""The product description of spot prices."""

_MOST = 10**9
"""More than an hour of any machine costs."""
_MEMORY = re.compile(r"([0-9][0-9,]*(?:\.[0-9]+)?) GiB")


@dataclass(frozen=True, slots=True)
class Offer:
    """An instance type, on demand."""

    price: int
    """Micro-units an hour."""
    since: int
    """Unix seconds from which it is in force."""
    shape: Shape


@dataclass(frozen=True, slots=True)
class Spot:
    """An instance type as spot capacity, at the price of the dearest zone: a pod may come to any."""

    price: int
    """Micro-units an hour."""
    since: int
    spread: Spread


def offer(products: Iterable[str], currency: str) -> Offer:
    """The one offer among `products`, as `GetProducts` gives them.

    Raises:
        FeedError: there is no product, they do not agree, or they are not of the known form.
    """
    found: list[Offer] = []
    for text in products:
        try:
            found += _offers(json.loads(text), currency)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FeedError(f"an offer is not of the known form: {type(error).__name__}: {error}") from error
    if not found:
        raise FeedError(f"there is no offer in {currency}")
    prices = sorted({one.price for one in found})
    if len(prices) > 1:
        raise FeedError(f"there are several offers: {', '.join(map(to_amount, prices))} {currency}")
    return max(found, key=lambda one: one.since)


def _offers(product: Any, currency: str) -> Iterator[Offer]:
    attributes = product["product"]["attributes"]
    memory = _MEMORY.fullmatch(attributes["memory"])
    if memory is None:
        raise ValueError(f"memory is {attributes['memory']!r}")
    shape = Shape(
        gpus=int(attributes.get("gpu", 0)),
        cores=int(attributes["vcpu"]),
        memory_mib=int(Decimal(memory[1].replace(",", "")) * 1024),
    )
    if shape.gpus < 0 or shape.cores < 1 or shape.memory_mib < 1:
        raise ValueError(f"the machine has {shape.gpus} GPUs, {shape.cores} cores, {shape.memory_mib} MiB")
    for term in product["terms"].get("OnDemand", {}).values():
        since = int(datetime.fromisoformat(term["effectiveDate"]).timestamp())
        for dimension in term["priceDimensions"].values():
            price = micro(dimension["pricePerUnit"].get(currency, "0"))
            if dimension["unit"] == "Hrs" and price:
                yield Offer(price, since, shape)


def spot(history: Iterable[Mapping[str, Any]], zones: Iterable[str], start: int, now: int) -> Spot | None:
    """The spot price of now and how it was spread, or `None` where there is no spot capacity.

    Args:
        history: items of `DescribeSpotPriceHistory`, in any order.
        zones: those that count; all if empty.
        start: unix seconds at which the history begins.
        now: unix seconds.

    Raises:
        FeedError: an item is not of the known form.
    """
    wanted, changes = frozenset(zones), dict[str, list[tuple[int, int]]]()
    try:
        for item in history:
            moment = int(item["Timestamp"].timestamp())
            if moment <= now and (not wanted or item["AvailabilityZone"] in wanted):
                changes.setdefault(item["AvailabilityZone"], []).append((moment, micro(item["SpotPrice"])))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FeedError(f"a spot price is not of the known form: {type(error).__name__}: {error}") from error
    latest = [max(of_zone) for of_zone in changes.values()]
    if not latest:
        return None
    since, price = max(latest, key=lambda change: (change[1], -change[0]))
    if not price:
        raise FeedError("a spot price is 0")
    lasted = [
        (before, max(0, end - max(begin, start)))
        for of_zone in changes.values()
        for (begin, before), (end, _) in pairwise([*sorted(of_zone), (now, 0)])
    ]
    return Spot(price, since, spread(lasted, price))


def micro(amount: str) -> int:
    """Micro-units of a decimal text of any length, rounded up.

    Raises:
        ValueError: it is no amount, or negative.
    """
    try:
        value = Decimal(amount)
    except InvalidOperation as error:
        raise ValueError(f"{amount!r} is not a price") from error
    if not value.is_finite() or value > _MOST:
        raise ValueError(f"{amount!r} is not a price")
    if value < 0:
        raise ValueError(f"{amount!r} is a negative price")
    return int((value * MICRO).to_integral_value(rounding=ROUND_CEILING))
