"""Reads prices from the sources of price lists: AWS through boto3, OpenCost over HTTP.

Reads block; keep them off the loop. Whatever a source does, `Feeds.refresh` returns: each answer is a price
or the reason for its absence.

The last answer of a source is kept until the next one: when a source stops answering, its prices grow old,
and the list's `maxAge` holds launches (P6).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from json import JSONDecoder
from types import MappingProxyType
from typing import Any, NoReturn, ParamSpec, Protocol, TypeVar

import boto3
import httpx
import structlog
from botocore.config import Config

from comptroller.pricing import Fed, Feed, Unfed, aws, opencost
from comptroller.pricing.fed import FeedError, Fresh, split
from comptroller.pricing.rates import HourlyRates
from comptroller_api import quantity
from comptroller_api.pricelist import Aws, NodeClass, OpenCost, PriceList, PriceListSpec
from comptroller_api.text import plain

log = structlog.get_logger()

_PATIENCE = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "total_max_attempts": 3})
_MOST_ITEMS = 20_000
"""The most items of one history or one list of offers; more is refused, not cut."""
_MOST_BYTES = 16 * 2**20
"""The most bytes of one answer: the nodes of a cluster of some thousands."""
_MOST_SECONDS = 60
"""The most seconds that one answer may take from its first byte to its last."""
_MOST_WORDS = 512
"""Characters kept of why a source has no price; it may have written them itself."""
_NEVER = Fed(0, None, None)
P = ParamSpec("P")
T = TypeVar("T")


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


_JSON = JSONDecoder(parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number)


class AwsApi(Protocol):
    """The calls to AWS."""

    def products(self, region: str, instance_type: str) -> Iterable[str]:
        """The offers of an instance type, as JSON texts."""
        ...

    def spot_history(self, region: str, instance_type: str, start: datetime) -> Iterable[Mapping[str, Any]]:
        """Return its spot prices since `start`."""
        ...


class Boto:
    """AWS by boto3, whose credentials come from where boto3 looks for them."""

    def products(self, region: str, instance_type: str) -> Iterator[str]:
        """The offers of an instance type, as JSON texts."""
        wanted = {**aws.PRODUCTS, "instanceType": instance_type, "regionCode": region}
        filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
        # The price list is served from few regions, whichever region the prices are of.
        place = "cn-northwest-1" if region.startswith("cn-") else "us-east-1"
        pages = self._pages(place, "pricing", "get_products", ServiceCode="AmazonEC2", Filters=filters)
        return _at_most(text for page in pages for text in page["PriceList"])

    def spot_history(self, region: str, instance_type: str, start: datetime) -> Iterator[Mapping[str, Any]]:
        """Return its spot prices since `start`."""
        pages = self._pages(
            region,
            "ec2",
            "describe_spot_price_history",
            InstanceTypes=[instance_type],
            ProductDescriptions=[aws.SPOT],
            StartTime=start,
        )
        return _at_most(item for page in pages for item in page["SpotPriceHistory"])

    @staticmethod
    def _pages(region: str, service: str, call: str, **options: Any) -> Iterable[Mapping[str, Any]]:
        connect: Any = boto3.client  # typed for the services whose stubs are installed
        pages: Iterable[Mapping[str, Any]] = (
            connect(service, region_name=region, config=_PATIENCE).get_paginator(call).paginate(**options)
        )
        return pages


def _at_most(items: Iterable[Any]) -> Iterator[Any]:
    for count, item in enumerate(items):
        if count == _MOST_ITEMS:
            raise FeedError(f"it has more than {_MOST_ITEMS} prices")
        yield item


Fetch = Callable[[str, Mapping[str, str]], bytes]
"""The body of a GET of a URL with a query; any failure is an exception."""


def http_get(url: str, query: Mapping[str, str]) -> bytes:
    """Return the body at `url`. Redirects are not followed.

    Raises:
        httpx.HTTPError: it cannot be had.
        httpx.InvalidURL: `url` is not a URL.
        FeedError: it is too long, or takes too long.
    """
    body, until = bytearray(), time.monotonic() + _MOST_SECONDS
    with httpx.stream("GET", url, params=dict(query), timeout=30, follow_redirects=False) as reply:
        reply.raise_for_status()
        for part in reply.iter_bytes():
            body += part
            if len(body) > _MOST_BYTES:
                raise FeedError(f"it answers more than {_MOST_BYTES} bytes")
            if time.monotonic() > until:
                raise FeedError(f"its answer takes more than {_MOST_SECONDS} s")
    return bytes(body)


class Feeds:
    """The prices of all lists that have a source, as they were last read."""

    def __init__(
        self, clock: Callable[[], int], aws_api: AwsApi | None = None, fetch: Fetch = http_get
    ) -> None:
        """Nothing has been read yet.

        Args:
            clock: unix seconds.
            aws_api: for tests.
            fetch: for tests.
        """
        self._clock = clock
        self._aws: AwsApi = aws_api or Boto()
        self._fetch = fetch
        self._kept: dict[tuple[str, str], tuple[object, Fed]] = {}
        self.feed: Feed = MappingProxyType({})
        """The prices that the plan reads; each refresh replaces them."""

    def refresh(self, lists: Iterable[PriceList]) -> None:
        """Query every source once. Log failures, and report them to the plan if nothing is known yet."""
        feed: dict[tuple[str, str], Fed | Unfed] = {}
        kept: dict[tuple[str, str], tuple[object, Fed]] = {}
        for prices in lists:
            spec = prices.spec
            for node_class, answer in self._query(spec, self._clock()):
                # What was read for other terms says nothing of these.
                key, terms = (prices.metadata.name, node_class.name), (spec.aws, spec.open_cost, node_class)
                known = answer
                if isinstance(answer, Unfed):
                    log.warning("price not read", list=key[0], node_class=key[1], error=answer.why)
                    before, last = self._kept.get(key, (None, _NEVER))
                    known = replace(last, failure=answer.why) if before == terms else answer
                if isinstance(known, Fed):
                    kept[key] = (terms, known)
                feed[key] = known
        self._kept, self.feed = kept, MappingProxyType(feed)

    def _query(self, spec: PriceListSpec, now: int) -> Iterator[tuple[NodeClass, Fed | Unfed]]:
        """Yield the source's answer for each class of a list; a static list has no source."""
        if spec.aws is not None:
            for node_class in spec.node_classes:
                yield node_class, _outcome(self._of_aws, spec.aws, node_class, spec.currency, now)
        elif spec.open_cost is not None:
            nodes = _outcome(self._nodes, spec.open_cost, now)
            for node_class in spec.node_classes:
                yield (
                    node_class,
                    nodes if isinstance(nodes, Unfed) else _outcome(opencost.fed, nodes, node_class, now),
                )

    def _nodes(self, terms: OpenCost, now: int) -> list[opencost.Node]:
        window = quantity.seconds(terms.window)
        query = {"window": f"{_stamp(now - window)},{_stamp(now)}", "filter": opencost.FILTER}
        return opencost.nodes(_decoded(self._fetch(f"{terms.url.rstrip('/')}/assets", query)))

    def _of_aws(self, terms: Aws, node_class: NodeClass, currency: str, now: int) -> Fed:
        kind, cap = node_class.instance_type or "", HourlyRates.of(node_class.cap)
        start = now - quantity.seconds(terms.history)
        firm = aws.offer(self._aws.products(terms.region, kind), currency)
        history = self._aws.spot_history(terms.region, kind, datetime.fromtimestamp(start, UTC))
        spot = aws.spot(history, terms.zones, start, now)
        return Fed(
            now,
            Fresh(split(firm.price, firm.shape, cap), firm.since),
            Fresh(split(spot.price, firm.shape, cap), spot.since, spot.spread) if spot else None,
        )


def _outcome(ask: Callable[P, T], *terms: P.args, **more: P.kwargs) -> T | Unfed:
    """Return the result of `ask`, or the reason why it failed."""
    try:
        return ask(*terms, **more)
    except FeedError as error:
        return Unfed(plain(str(error), _MOST_WORDS))
    except Exception as error:  # noqa: BLE001 - what a source can do has no end; the list's condition says it
        lines = str(error).strip().splitlines() or [""]
        return Unfed(plain(f"it cannot be read: {type(error).__name__}: {lines[0]}", _MOST_WORDS))


def _decoded(body: bytes) -> Any:
    try:
        return _JSON.decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise FeedError(f"its answer is not JSON: {error}") from error


def _stamp(unix: int) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%dT%H:%M:%SZ}"
