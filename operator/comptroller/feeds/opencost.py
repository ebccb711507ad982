"""Prices of OpenCost, from the answers of its `GET /assets`.

A price is the cost of a node over a window, divided by the hours that the node existed. Of the nodes whose
labels a node class selects, those that can be preempted are spot capacity. OpenCost takes discounts off cores
and memory.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from comptroller.feeds.base import Quoted
from comptroller.feeds.bounded import Fetch, decoded, http_get
from comptroller.pricing.fed import Fed, FeedError, Fresh
from comptroller.pricing.rates import HourlyRates
from comptroller_api import quantity
from comptroller_api.money import MICRO, to_micro
from comptroller_api.pricelist import NodeClass, PriceListSpec

FILTER = 'assetType:"node"'
"""The filter of the request: no disks, no load balancers."""

_GIB = 2**30
_MOST = 10**18
"""More than any cost or any byte-hours of a window."""
_OPTIONAL = frozenset({"discount", "preemptible"})
_SHOWN = 40
"""Characters of a wrong value that a person needs to see."""
_UNSAFE = re.compile(r"[^a-zA-Z0-9_]")


class OpenCostPrices:
    """OpenCost's costs of nodes, as a source of prices. Its currency is taken to be the list's."""

    def __init__(self, fetch: Fetch = http_get) -> None:
        """Read over HTTP, or by another `fetch`."""
        self._fetch = fetch

    def quoted(self, spec: PriceListSpec, now: int) -> Quoted:
        """Implement `PriceSource`; one request has the nodes of all classes."""
        if spec.open_cost is None:
            raise FeedError("openCost is missing")
        window = quantity.seconds(spec.open_cost.window)
        query = {"window": f"{_stamp(now - window)},{_stamp(now)}", "filter": FILTER}
        found = nodes(decoded(self._fetch(f"{spec.open_cost.url.rstrip('/')}/assets", query)))
        return lambda node_class: fed(found, node_class, now)


def _stamp(unix: int) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%dT%H:%M:%SZ}"


@dataclass(frozen=True, slots=True)
class Node:
    """One node's costs over the window, before rounding."""

    labels: Mapping[str, str]
    spot: bool
    gpu: tuple[Decimal, Decimal]
    """Cost and GPU hours."""
    cpu: tuple[Decimal, Decimal]
    memory: tuple[Decimal, Decimal]
    """Cost and GiB hours."""


def nodes(reply: Any) -> list[Node]:
    """The nodes of a reply, whose numbers were parsed as `Decimal`.

    Raises:
        FeedError: it says that it failed, or is not of the known form.
    """
    try:
        if reply["code"] != 200:  # noqa: PLR2004 - HTTP's OK
            raise FeedError(f"it answers {reply['code']}: {reply.get('message', '')}")
        # A set by asset; older versions have a list of one set for each step.
        sets = reply["data"] if isinstance(reply["data"], list) else [reply["data"]]
        return [_node(asset) for assets in sets for asset in assets.values() if asset.get("type") == "Node"]
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise FeedError(f"its answer is not of the known form: {type(error).__name__}: {error}") from error


def _node(asset: Mapping[str, Any]) -> Node:
    labels = asset.get("labels") or {}
    if not isinstance(labels, dict):
        raise TypeError(f"labels of a node are {type(labels).__name__}")
    left = 1 - _number(asset, "discount", most=1)
    return Node(
        labels=labels,
        spot=_number(asset, "preemptible", most=1) > 0,
        gpu=(_number(asset, "gpuCost"), _number(asset, "GPUHours")),
        cpu=(_number(asset, "cpuCost") * left, _number(asset, "cpuCoreHours")),
        memory=(_number(asset, "ramCost") * left, _number(asset, "ramByteHours") / _GIB),
    )


def _number(asset: Mapping[str, Any], name: str, most: int = _MOST) -> Decimal:
    """Return a number of an asset that can be one.

    Raises:
        FeedError: it is negative, infinite, larger than anything real, or not a number.
    """
    value = asset.get(name, 0) if name in _OPTIONAL else asset[name]
    number = Decimal("NaN") if isinstance(value, bool) and name not in _OPTIONAL else Decimal(value)
    if not number.is_finite() or not 0 <= number <= most:
        raise FeedError(f"{name} of a node is {str(value)[:_SHOWN]}")
    return number


def fed(found: Iterable[Node], node_class: NodeClass, now: int) -> Fed:
    """Return the cost of a node class, by the nodes that its labels select.

    Raises:
        FeedError: it selects no node, or its cap charges for GPUs and its nodes have none.
    """
    wanted = {f"label_{_UNSAFE.sub('_', name)}": value for name, value in node_class.node_selector.items()}
    ours = [node for node in found if wanted.items() <= node.labels.items()]
    if not ours:
        raise FeedError("no node was there that its nodeSelector selects")
    gpus = node_class.cap.gpu is not None and to_micro(node_class.cap.gpu) > 0
    firm, spot = (_fresh([n for n in ours if n.spot is kind], now, gpus=gpus) for kind in (False, True))
    return Fed(now, firm, spot)


def _fresh(ours: list[Node], now: int, *, gpus: bool) -> Fresh | None:
    if not ours:
        return None
    gpu = _rate(node.gpu for node in ours)
    cpu, memory = _rate(node.cpu for node in ours), _rate(node.memory for node in ours)
    if cpu is None or memory is None or (gpus and gpu is None):
        raise FeedError("its nodes were there for no time, or have no GPUs and its cap charges for some")
    return Fresh(HourlyRates(gpu or 0, cpu, memory), now)


def _rate(parts: Iterator[tuple[Decimal, Decimal]]) -> int | None:
    """Micro-units an hour, to the nearest: rounded up, a rate would flicker with the last digit of a cost."""
    costs, hours = zip(*parts, strict=True)
    total = sum(hours)
    return round(sum(costs) / total * MICRO) if total > 0 else None
