"""Reads the prices of all price lists from their sources.

Reads block; keep them off the loop. Whatever a source does, `Feeds.refresh` returns: each answer is a price
or the reason for its absence.

The last answer of a source is kept until the next one: when a source stops answering, its prices grow old,
and the list's `maxAge` holds launches (P6).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import ParamSpec, TypeVar

import structlog

from comptroller.feeds.base import PriceSource
from comptroller.feeds.sources import SOURCES
from comptroller.pricing import Fed, Feed, Unfed
from comptroller.pricing.fed import FeedError
from comptroller_api.pricelist import NodeClass, PriceList, PriceListSpec
from comptroller_api.text import plain, without_credentials

log = structlog.get_logger()

_MOST_WORDS = 512
"""Characters kept of why a source has no price; it may have written them itself."""
_NEVER = Fed(0, None, None)
P = ParamSpec("P")
T = TypeVar("T")


class Feeds:
    """The prices of all lists that have a source, as they were last read."""

    def __init__(self, clock: Callable[[], int], sources: Mapping[str, PriceSource] = SOURCES) -> None:
        """Start without prices.

        Args:
            clock: unix seconds.
            sources: by the names that lists have for them.
        """
        self._clock, self._sources = clock, sources
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
                key, terms = (prices.metadata.name, node_class.name), (spec.source, spec.terms, node_class)
                known = answer
                if isinstance(answer, Unfed):
                    log.warning(
                        "price not read", source=spec.source, list=key[0], node_class=key[1], error=answer.why
                    )
                    before, last = self._kept.get(key, (None, _NEVER))
                    known = replace(last, failure=answer.why) if before == terms else answer
                if isinstance(known, Fed):
                    kept[key] = (terms, known)
                feed[key] = known
        self._kept, self.feed = kept, MappingProxyType(feed)

    def _query(self, spec: PriceListSpec, now: int) -> Iterator[tuple[NodeClass, Fed | Unfed]]:
        """Yield the source's answer for each class of a list; a static list has no source."""
        source = self._sources.get(spec.source)
        if source is None:
            return
        quoted = _outcome(source.quoted, spec, now)
        for node_class in spec.node_classes:
            yield node_class, quoted if isinstance(quoted, Unfed) else _outcome(quoted, node_class)


def _outcome(ask: Callable[P, T], *terms: P.args, **more: P.kwargs) -> T | Unfed:
    """Return the result of `ask`, or the reason why it failed."""
    try:
        return ask(*terms, **more)
    except FeedError as error:
        return Unfed(plain(without_credentials(str(error)), _MOST_WORDS))
    except Exception as error:  # noqa: BLE001 - what a source can do has no end; the list's condition says it
        lines = without_credentials(str(error)).strip().splitlines() or [""]
        return Unfed(plain(f"it cannot be read: {type(error).__name__}: {lines[0]}", _MOST_WORDS))
