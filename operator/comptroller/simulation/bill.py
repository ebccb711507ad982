"""The oracle's own bill: what truly ran where, at the prices that people declared.

Nothing of it is from the books. Each pod costs what it requests for the time that it held a node, at the
price of that node's kind. Where a price changed meanwhile, the operator may have learned of it late or not at
all, so a bill has a least and a most.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from comptroller.cluster.simulated import Pod
from comptroller_api.money import to_micro
from comptroller_api.pricelist import PriceList, Rates

_UNITS = 3600 * 1000
"""Seconds of an hour, times thousandths of a core."""


@dataclass(frozen=True, slots=True)
class Tariff:
    """The cost of a core and a GPU of one node kind in an hour from some moment on, in micro-units."""

    since: int
    rates: tuple[int, int]
    caps: tuple[int, int]


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
            if rates is not None:
                tariff = Tariff(since, _amounts(rates), _amounts(node_class.cap))
                if not found or (found[-1].rates, found[-1].caps) != (tariff.rates, tariff.caps):
                    found.append(tariff)
    return found


def _amounts(rates: Rates) -> tuple[int, int]:
    return to_micro(rates.cpu or "0"), to_micro(rates.gpu or "0")


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
        charged = [one.rates for one in _valid(declared, launched - slack, end)]
        caps = [one.caps for one in _valid(declared, launched - slack, launched)]
        if not charged or not caps:
            continue
        for unit, amount in enumerate((pod.cpu, pod.gpus * 1000)):
            rates, limits = [one[unit] for one in charged], [one[unit] for one in caps]
            least += amount * (end - pod.scheduled) * min(*rates, *limits)
            most += amount * (end - pod.scheduled) * min(max(rates), max(limits))
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


def worst(cpu: int, gpus: int, known: Iterable[Iterable[Tariff]], seconds: int) -> int:
    """Return micro-units that thousandths of a core and some GPUs may cost at most, at the highest caps."""
    caps = [one.caps for each in known for one in each]
    rate = sum(
        amount * max((one[unit] for one in caps), default=0) for unit, amount in enumerate((cpu, gpus * 1000))
    )
    return -(-rate * seconds // _UNITS)
