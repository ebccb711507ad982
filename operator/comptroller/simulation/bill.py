"""The oracle's own bill: what truly ran where, at the prices that people declared.

Nothing of it is from the books. Each pod costs what it requests for the time that it held a node, at the
price of that node's kind. Where a price changed meanwhile, the operator may have learned of it late or not at
all, so a bill has a least and a most.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from comptroller.cluster.simulated import Pod
from comptroller_api import quantity
from comptroller_api.money import to_micro
from comptroller_api.pricelist import PriceList

_UNITS = 3600 * 1000
"""Seconds of an hour, times thousandths of a core."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a core of one node kind costs in an hour from some moment on, in micro-units."""

    since: int
    rate: int
    cap: int


def tariffs(lists: Iterable[tuple[int, tuple[PriceList, ...]]], kind: str, capacity: str) -> list[Tariff]:
    """Return what people declared for a node kind, in order of time.

    Args:
        lists: the price lists that there were, each from a moment in unix seconds on.
        kind: the name of the node class.
        capacity: `OnDemand` or `Spot`.
    """
    found: list[Tariff] = []
    for since, prices in lists:
        for node_class in (one for each in prices for one in each.spec.node_classes if one.name == kind):
            rates = node_class.spot if capacity == "Spot" else node_class.on_demand
            if rates is not None and rates.cpu is not None and node_class.cap.cpu is not None:
                tariff = Tariff(since, to_micro(rates.cpu), to_micro(node_class.cap.cpu))
                if not found or (found[-1].rate, found[-1].cap) != (tariff.rate, tariff.cap):
                    found.append(tariff)
    return found


def bill(
    pods: Iterable[Pod], known: dict[tuple[str, str], list[Tariff]], launched: int, now: int, slack: int
) -> tuple[int, int]:
    """Return the least and the most that pods may have cost so far, in micro-units.

    Args:
        pods: those of one attempt.
        known: what people declared, by node kind and capacity.
        launched: when the attempt was launched; its hold was sized by a cap of about then.
        now: unix seconds.
        slack: seconds by which what an operator knows may be old.
    """
    least = most = 0
    for pod in pods:
        if pod.scheduled is None or pod.node is None:
            continue
        end = pod.until(now)
        declared = known.get((pod.node.kind, pod.node.capacity), [])
        charged = [one.rate for one in _valid(declared, launched - slack, end)]
        caps = [one.cap for one in _valid(declared, launched - slack, launched)]
        if not charged or not caps:
            continue
        amount = pod.cpu * (end - pod.scheduled)
        least += amount * min(*charged, *caps)
        most += amount * min(max(charged), max(caps))
    return -(-least // _UNITS), -(-most // _UNITS)


def _valid(declared: list[Tariff], begin: int, end: int) -> list[Tariff]:
    """Return those that were valid at some moment from `begin` to `end`."""
    later = [*(one.since for one in declared[1:]), None]
    return [
        one
        for one, until in zip(declared, later, strict=True)
        if one.since <= end and (until is None or until >= begin)
    ]


def seconds(pods: Iterable[Pod], now: int) -> int:
    """Return for how long pods held a node, all together."""
    return sum(pod.until(now) - pod.scheduled for pod in pods if pod.scheduled is not None)


def worst(cpu: str, cap: int, seconds: int) -> int:
    """Return micro-units that some cores may cost at most, at a cap of micro-units an hour."""
    return -(-quantity.milli(cpu) * cap * seconds // _UNITS)
