"""The prices of nodes: price lists, feeds, and kinds of nodes."""

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from comptroller.cluster.simulated import Node
from comptroller.pricing.fed import Fed, Feed, Fresh, Unfed
from comptroller.pricing.rates import HourlyRates
from comptroller.status import rfc3339
from comptroller_api.pricelist import OpenCost, PriceList

if TYPE_CHECKING:
    from comptroller.simulation.run import Run

OLD = "old"
"""The class of older, cheaper nodes, and their label."""
_FLOOR = 2
"""Percent of its cap that a price has at least, where a feed is right."""


@dataclass(frozen=True)
class SetPrices:
    """The price list changes."""

    at: int
    now: str = "3.60"
    spot: str = "1.20"
    cap: str = "7.20"
    age: int | None = None
    """Seconds after which they are stale; `None`: never."""
    gpu: str | None = None
    """The price of a GPU, half of its cap; `None`: nothing is written."""
    old: str | None = None
    """The price of a core of an old node; `None`: there is no such class."""
    feed: bool = False
    """A feed has the prices, and the list the caps."""

    def __str__(self) -> str:
        more = "" if self.age is None else f", stale after {self.age}s"
        more += "" if self.gpu is None else f", a GPU {self.gpu}"
        more += "" if self.old is None else f", a core of an old node {self.old}"
        more += ", by a feed" if self.feed else ""
        return f"a core costs {self.now}, spot {self.spot}, cap {self.cap}{more}"

    def happen(self, run: "Run") -> None:
        """Apply it."""
        true = _prices(self, run.cluster.now)
        run.feed, run.oracle.fed = {}, None
        if self.feed:
            run.feed, run.oracle.fed = _fed(true, run.cluster.now), (true,)
            source = {"source": "OpenCost", "open_cost": OpenCost(url="http://opencost")}
            true = true.model_copy(update={"spec": true.spec.model_copy(update=source)})
        run.cluster.prices = (true,)
        run.oracle.declare()


def _prices(one: SetPrices, now: int) -> PriceList:
    def rates(cpu: str, times: int = 1) -> dict[str, Any]:
        gpu = {} if one.gpu is None else {"gpu": str(Decimal(one.gpu) * times)}
        return {"cpu": cpu, "memoryGiB": "0", **gpu}

    classes: list[dict[str, Any]] = [
        {
            "name": "small",
            "onDemand": rates(one.now),
            "spot": {**rates(one.spot), "nodeSelector": {"capacity": "spot"}},
            "cap": rates(one.cap, 2),
            "floorPercent": _FLOOR,
        }
    ]
    if one.old is not None:
        # Pods of the other class may come to these nodes, which never cost more.
        free = {"cpu": one.old, "memoryGiB": "0"}
        classes.append({"name": OLD, "onDemand": free, "cap": free, "nodeSelector": {"pool": OLD}})
    spec = {
        "currency": "USD",
        "asOf": rfc3339(now),
        "nodeClasses": classes,
        "maxAge": None if one.age is None else f"{one.age}s",
    }
    return PriceList.model_validate({"metadata": {"name": "list"}, "spec": spec})


def _fed(prices: PriceList, now: int) -> Feed:
    """Return what a feed says where it is right."""
    return {
        (prices.metadata.name, one.name): Fed(
            as_of=now,
            on_demand=Fresh(HourlyRates.of(one.on_demand), now) if one.on_demand else None,
            spot=Fresh(HourlyRates.of(one.spot), now) if one.spot else None,
        )
        for one in prices.spec.node_classes
    }


@dataclass(frozen=True)
class FeedErrs:
    """A feed answers with a small part of the price, or with 0."""

    at: int
    seconds: int
    part: int
    """Divides the price; 0: it answers 0."""

    def __str__(self) -> str:
        answer = f"a {self.part}th of the price" if self.part else "0"
        return f"the feed answers {answer}, for {self.seconds}s"

    def happen(self, run: "Run") -> None:
        """Answer so."""
        run.feed_parts.append(self.part)
        run.changed()

        def back() -> None:
            run.feed_parts.remove(self.part)
            run.changed()

        run.cluster.timeline.after(self.seconds, back)


def answered(run: "Run") -> Feed:
    """Return what feeds answer now."""
    if not run.feed_parts:
        return run.feed
    return {key: _wrong(fed, run.feed_parts[-1]) for key, fed in run.feed.items()}


def _wrong(fed: Fed | Unfed, part: int) -> Fed | Unfed:
    if isinstance(fed, Unfed):
        return fed
    return replace(fed, on_demand=_part_of(fed.on_demand, part), spot=_part_of(fed.spot, part))


def _part_of(fresh: Fresh | None, part: int) -> Fresh | None:
    if fresh is None:
        return None
    return replace(fresh, rates=replace(fresh.rates, cpu=(fresh.rates.cpu or 0) // part if part else 0))


@dataclass(frozen=True)
class OldNodes:
    """There are nodes of another kind, which pods that select nothing come to first."""

    at: int

    def __str__(self) -> str:
        return "there is an old node"

    def happen(self, run: "Run") -> None:
        """Add one."""
        run.cluster.join(Node("old-0", {"pool": OLD}, kind=OLD, gpus=0))
        run.oracle.declare()


@dataclass(frozen=True)
class DropPrices:
    """The price list is gone."""

    at: int

    def __str__(self) -> str:
        return "the price list is deleted"

    def happen(self, run: "Run") -> None:
        """Delete it."""
        run.cluster.prices, run.oracle.fed = (), None
        run.oracle.declare()
