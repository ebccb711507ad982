"""Reads with bounds on their items, bytes, seconds and amounts, for price feeds."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from json import JSONDecoder
from typing import Any, NoReturn, TypeAlias, TypeVar

import httpx

from comptroller.pricing.fed import FeedError
from comptroller_api.money import MICRO

MOST_ITEMS = 20_000
"""The most items of one history or one list of offers; more is refused, not cut."""
MOST_PAGES = 100
"""The most requests for one history or one list of offers."""
MOST_BYTES = 16 * 2**20
"""The most bytes of one answer: the nodes of a cluster of some thousands."""
MOST_SECONDS = 60
"""The most seconds of one answer from its first byte to its last, or of one list from its first item."""
_MOST_AMOUNT = 10**9
"""More than an hour of any machine costs."""

Fetch: TypeAlias = Callable[[str, Mapping[str, str]], bytes]
"""The body of a GET of a URL with a query; any failure is an exception."""
T = TypeVar("T")


def at_most(items: Iterable[T], most: int | None = None, of: str = "prices") -> Iterator[T]:
    """Yield `items`.

    Raises:
        FeedError: there are more than `most` (`MOST_ITEMS`), or they take more than `MOST_SECONDS`.
    """
    most, until = MOST_ITEMS if most is None else most, time.monotonic() + MOST_SECONDS
    for count, item in enumerate(items):
        if count == most:
            raise FeedError(f"it has more than {most} {of}")
        if time.monotonic() > until:
            raise FeedError(f"its {of} take more than {MOST_SECONDS} s")
        yield item


def http_get(url: str, query: Mapping[str, str]) -> bytes:
    """Return the body at `url`. Redirects are not followed.

    Raises:
        httpx.HTTPError: it cannot be had.
        httpx.InvalidURL: `url` is not a URL.
        FeedError: it is too long, or takes too long.
    """
    body, until = bytearray(), time.monotonic() + MOST_SECONDS
    with httpx.stream("GET", url, params=dict(query), timeout=30, follow_redirects=False) as reply:
        reply.raise_for_status()
        for part in reply.iter_bytes():
            body += part
            if len(body) > MOST_BYTES:
                raise FeedError(f"it answers more than {MOST_BYTES} bytes")
            if time.monotonic() > until:
                raise FeedError(f"its answer takes more than {MOST_SECONDS} s")
    return bytes(body)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


_JSON = JSONDecoder(parse_float=Decimal, parse_int=Decimal, parse_constant=_no_number)


def decoded(body: bytes) -> Any:
    """Return the value of a JSON text, with numbers as `Decimal`.

    Raises:
        FeedError: it is no JSON text.
    """
    try:
        return _JSON.decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise FeedError(f"its answer is not JSON: {error}") from error


def micro(amount: str) -> int:
    """Return the micro-units of a decimal text of any length, rounded up.

    Raises:
        ValueError: it is no amount, or negative.
    """
    try:
        value = Decimal(amount)
    except InvalidOperation as error:
        raise ValueError(f"{amount!r} is not a price") from error
    if not value.is_finite() or value > _MOST_AMOUNT:
        raise ValueError(f"{amount!r} is not a price")
    if value < 0:
        raise ValueError(f"{amount!r} is a negative price")
    return int((value * MICRO).to_integral_value(rounding=ROUND_CEILING))
