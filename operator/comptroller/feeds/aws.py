"""Prices of AWS, through boto3.

`GetProducts` of the Price List API gives each product as a JSON text with its attributes and terms.
`DescribeSpotPriceHistory` of EC2 gives the moments at which a zone's spot price changed, and the one before
the start, which was in force then.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from comptroller.feeds.base import Quoted
from comptroller.feeds.bounded import MOST_PAGES, at_most, micro
from comptroller.pricing import Fed
from comptroller.pricing.fed import FeedError, Fresh, Shape, Spread, split, spread
from comptroller.pricing.rates import HourlyRates
from comptroller_api import quantity
from comptroller_api.money import to_amount
from comptroller_api.pricelist import Aws, NodeClass, PriceListSpec

_PATIENCE = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})
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

_MEMORY = re.compile(r"([0-9][0-9,]*(?:\.[0-9]+)?) GiB")


class AwsApi(Protocol):
    """The calls to AWS."""

    def products(self, region: str, instance_type: str) -> Iterable[str]:
        """Return the offers of an instance type, as JSON texts."""
        ...

    def spot_history(self, region: str, instance_type: str, start: datetime) -> Iterable[Mapping[str, Any]]:
        """Return its spot prices since `start`."""
        ...


class Boto:
    """AWS by boto3, whose credentials come from where boto3 looks for them."""

    def products(self, region: str, instance_type: str) -> Iterator[str]:
        """Return the offers of an instance type, as JSON texts."""
        wanted = {**PRODUCTS, "instanceType": instance_type, "regionCode": region}
        filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
        # The price list is served from few regions, whichever region the prices are of.
        endpoint = "cn-northwest-1" if region.startswith("cn-") else "us-east-1"
        pages = self._pages(endpoint, "pricing", "get_products", ServiceCode="AmazonEC2", Filters=filters)
        return at_most(text for page in pages for text in page["PriceList"])

    def spot_history(self, region: str, instance_type: str, start: datetime) -> Iterator[Mapping[str, Any]]:
        """Return its spot prices since `start`."""
        pages = self._pages(
            region,
            "ec2",
            "describe_spot_price_history",
            InstanceTypes=[instance_type],
            ProductDescriptions=[SPOT],
            StartTime=start,
        )
        return at_most(item for page in pages for item in page["SpotPriceHistory"])

    @cached_property
    def _session(self) -> boto3.Session:
        return boto3.Session()

    def _pages(self, region: str, service: str, call: str, **options: Any) -> Iterator[Mapping[str, Any]]:
        connect: Any = self._session.client  # typed for the services whose stubs are installed
        client = connect(service, region_name=region, config=_PATIENCE)
        try:
            yield from at_most(client.get_paginator(call).paginate(**options), MOST_PAGES, "pages")
        except ClientError as error:
            first = str(error).partition("\n")[0]
            why = f"it cannot be read: {type(error).__name__}: {first}"
            raise FeedError(self._without_secrets(why)) from error

    def _without_secrets(self, text: str) -> str:
        """Return a message without the request's secrets: AWS quotes a request whose signature is wrong."""
        found = self._session.get_credentials()
        known = found.get_frozen_credentials() if found else None
        for secret in (known.secret_key, known.token) if known else ():
            text = text.replace(secret, "***") if secret else text
        return text


class AwsPrices:
    """AWS's offers, and the history of its spot prices, as a source of prices."""

    def __init__(self, api: AwsApi | None = None) -> None:
        """Read through boto3, or through another `api`."""
        self._api: AwsApi = api or Boto()

    def quoted(self, spec: PriceListSpec, now: int) -> Quoted:
        """Implement `PriceSource`; each node class is a request of its own."""
        if spec.aws is None:
            raise FeedError("aws is missing")
        return partial(self._fed, spec.aws, spec.currency, now)

    def _fed(self, terms: Aws, currency: str, now: int, node_class: NodeClass) -> Fed:
        kind, cap = node_class.instance_type or "", HourlyRates.of(node_class.cap)
        start = now - quantity.seconds(terms.history)
        on_demand = offer(self._api.products(terms.region, kind), currency)
        history = self._api.spot_history(terms.region, kind, datetime.fromtimestamp(start, UTC))
        found = spot(history, terms.zones, start, now)
        return Fed(
            now,
            Fresh(split(on_demand.price, on_demand.shape, cap), on_demand.since),
            Fresh(split(found.price, on_demand.shape, cap), found.since, found.spread) if found else None,
        )


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
