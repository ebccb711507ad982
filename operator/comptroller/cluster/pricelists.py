"""Keeps prices: reads feeds where price lists want it, and publishes each list's status."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from pydantic import ValidationError

from comptroller.cluster.api import Api, path
from comptroller.cluster.unread import refused
from comptroller.feeds import Feeds
from comptroller.plan.listed import READY, price_list_status, refused_status
from comptroller_api.meta import Condition
from comptroller_api.pricelist import PriceList, PriceListStatus

log = structlog.get_logger()

Body = dict[str, Any]


class PriceKeeper:
    """The price lists of a cluster, their feeds, and their conditions."""

    def __init__(self, api: Api, feeds: Feeds, clock: Callable[[], int], *, every: float) -> None:
        """Wire the parts; feeds are read `every` so many seconds, and at once for a list that changed."""
        self._api, self._feeds, self._clock, self._every = api, feeds, clock, every
        self._requested: frozenset[str] = frozenset()
        self._last = 0.0

    async def round(self, bodies: Iterable[Body]) -> bool:
        """Read feeds where that is due, and publish what became of each list.

        One list's trouble is published in its own condition and logged, and touches no other list.

        Returns:
            Whether feeds were read, so that prices may have changed.
        """
        bodies = list(bodies)
        read = [(body, _read(body)) for body in bodies]
        lists = [one for _, one in read if isinstance(one, PriceList)]
        versions = frozenset(f"{one.metadata.uid}/{one.metadata.generation}" for one in lists)
        due = versions != self._requested or time.monotonic() - self._last > self._every
        if due:
            self._requested, self._last = versions, time.monotonic()  # a failure waits its turn too
            await asyncio.to_thread(self._feeds.refresh, lists)
        for body, one in read:
            try:
                await self._publish(body, self._status(body, one, lists))
            except Exception as error:  # noqa: BLE001 - the next round tries again
                problem = f"{type(error).__name__}: {error}"[:500]
                log.warning("status not written", list=_name(body), error=problem)
        return due

    def _status(self, body: Body, one: PriceList | str, lists: list[PriceList]) -> PriceListStatus:
        if isinstance(one, PriceList):
            return price_list_status(one, lists, self._feeds.feed, self._clock())
        generation = int(body["metadata"].get("generation", 0))
        return refused_status(_known(body), one, generation, self._clock())

    async def _publish(self, body: Body, status: PriceListStatus) -> None:
        if (value := status.to_json()) == body.get("status"):
            return
        meta = body["metadata"]
        test: Body = {"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]}
        where = path("pricelists", None, meta["name"], "status")
        await self._api.patch(where, [test, {"op": "add", "path": "/status", "value": value}])


def _read(body: Body) -> PriceList | str:
    """Return the list, or why it cannot be read."""
    try:
        return PriceList.model_validate(body)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it is its own
        return refused("PriceList", body, error).why


def _known(body: Body) -> Condition | None:
    for one in (body.get("status") or {}).get("conditions") or ():
        try:
            found = Condition.model_validate(one)
        except ValidationError:
            continue
        if found.type == READY:
            return found
    return None


def _name(body: Body) -> str:
    return str(body.get("metadata", {}).get("name", ""))
