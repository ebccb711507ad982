"""The books next to an AWS Cost and Usage Report: what was billed, and what AWS asks for the same pods.

With split cost allocation data for EKS a report has lines for each pod and hour, one for its cores, one for
its memory, one for its accelerators. A pod is an attempt's where its owner is the attempt's Job, in the right
cluster. The report names the owner where it has the workload's tags; otherwise the pod's name is read, which
is the Job's with a suffix, and with an index where several pods train together.

Credits are lines of the nodes and not of pods. A pod gets the share of its node's credits that it has of its
node's cost in that hour. The unused cost, a node's idle capacity shared out over its pods, is shown and not
compared: no attempt is billed for it. Net costs, which only accounts with a discount have, are not read.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TypeAlias

from comptroller.ledger.audit import trusted
from comptroller.ledger.books import Books
from comptroller.ledger.costreport import Line, NotAReport, Pod, lines
from comptroller.ledger.store import Store
from comptroller_api.money import MICRO

_POD = re.compile(r"(?P<stem>.+)-[a-z0-9]{5}")
_INDEXED = re.compile(r"(?P<job>.+)(?P<index>-[0-9]+)")
_ATTEMPT = re.compile(r".+-[0-9]{4,}-[0-9]+")
_UID = 8
"""Characters of a study's uid in the names of its attempts."""
_STEM = 57
"""Characters of a pod's name before its suffix and the dash; Kubernetes cuts a longer Job's name off."""
_HOUR = 3600
_REBATES = frozenset({"Credit", "Refund"})

Place: TypeAlias = tuple[str, str, int]
"""A namespace, an attempt's name, and the hour's first moment in unix seconds."""
Node: TypeAlias = tuple[str, int]
"""A node's resource id and an hour."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One attempt in one hour, in micro-units."""

    namespace: str
    attempt: str
    hour: int
    booked: int
    invoiced: int
    credits: int = 0
    """This attempt's share of the credits of AWS for the node; not positive. `invoiced` is before them."""

    @property
    def difference(self) -> int:
        """Return the amount that AWS bills beyond the books, before credits."""
        return self.invoiced - self.booked


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The books next to a report; money in micro-units."""

    lines: list[Difference]
    unused: int
    """Idle capacity of nodes that AWS shares out over the attempts' pods; nobody is billed for it."""
    unplaced: int
    """Credits and refunds that name no node of an attempt in their hour."""


@dataclass(slots=True)
class _Invoice:
    costs: dict[Place, Decimal] = field(default_factory=dict)
    shares: dict[Node, dict[Place, Decimal]] = field(default_factory=dict)
    """The cost of the attempts' pods on each node."""
    nodes: dict[Node, Decimal] = field(default_factory=dict)
    """The cost of each node, pods of others and idle capacity included."""
    rebates: dict[Node, Decimal] = field(default_factory=dict)
    unused: Decimal = Decimal(0)


def reconcile(
    store: Store, namespaces: Iterable[str], reports: Iterable[Path], cluster: str = ""
) -> Reconciliation:
    """Compare every attempt and hour that the books or the reports have.

    Args:
        store: where the journals are.
        namespaces: whose books; lines of other namespaces' pods are not looked at.
        reports: the parts of a report.
        cluster: the EKS cluster's name; empty: the only one that has pods of these attempts.

    Raises:
        NotAReport: a file is no report, its attempts are of several clusters and none is named, or there is
            nothing to compare.
        NoParquet: a file is Parquet, and pyarrow is not installed.
        OSError: a file could not be read.
        Untrusted: a journal is damaged.
    """
    books = {name: trusted(store, name).books for name in namespaces}
    booked: Counter[Place] = Counter()
    for name, found in books.items():
        for place, amount in hourly(found, name):
            booked[place] += amount
    invoice = _invoice((line for report in reports for line in lines(report)), _Owners(books), cluster)
    if not booked and not invoice.costs:
        raise NotAReport("neither the books nor the report have an attempt: nothing was compared")
    billed = {place: _micro(cost) for place, cost in invoice.costs.items()}
    credits_of, unplaced = _credits(invoice)
    places = sorted(booked.keys() | billed.keys())
    return Reconciliation(
        [Difference(*place, booked[place], billed.get(place, 0), credits_of[place]) for place in places],
        _micro(invoice.unused),
        unplaced,
    )


def hourly(books: Books, namespace: str) -> Iterator[tuple[Place, int]]:
    """Yield what each closed attempt was billed, spread over the hours in which it ran."""
    for attempts in books.trials.values():
        for attempt in attempts:
            late = books.adjustments.get(attempt.key, ())
            spent = attempt.spent + sum(entry.amount for entry in late)
            if attempt.open or not spent:
                continue
            # Where nobody saw it start, as in the export: it ran for the seconds that were billed.
            started = attempt.started or max(0, attempt.ended - attempt.seconds)
            seconds = max(1, attempt.ended - started)
            ended, yielded = started + seconds, 0
            for hour in range(started - started % _HOUR, ended, _HOUR):
                so_far = spent * (min(hour + _HOUR, ended) - started) // seconds
                yield (namespace, attempt.name, hour), so_far - yielded
                yielded = so_far


class _Owners:
    """The owners of pods, by the books."""

    def __init__(self, books: dict[str, Books]) -> None:
        self._names = {
            name: {a.name for attempts in found.trials.values() for a in attempts}
            for name, found in books.items()
        }
        self._studies = {name: {uid[:_UID] for uid, _ in found.trials} for name, found in books.items()}

    def attempt(self, pod: Pod) -> str | None:
        """The attempt that `pod` is of; one of a known study counts though the books have no such attempt."""
        if pod.namespace not in self._names:
            return None
        if pod.owner:
            return pod.owner if pod.owner_kind in {"", "Job"} and self._ours(pod, pod.owner) else None
        found = _POD.fullmatch(pod.name)
        if found is None:
            return None
        stem, names = found["stem"], self._names[pod.namespace]
        indexed = _INDEXED.fullmatch(stem)
        jobs = [stem, *([indexed["job"]] if indexed else [])]
        known = [job for job in jobs if self._ours(pod, job)]
        exact = [job for job in known if job in names]
        if not known and len(stem) == _STEM:
            exact = sorted(name for name in names for job in jobs if name.startswith(job))
        return next(iter([*exact, *known]), None)

    def _ours(self, pod: Pod, job: str) -> bool:
        if job in self._names[pod.namespace]:
            return True
        return bool(_ATTEMPT.fullmatch(job)) and job.rsplit("-", 2)[0][-_UID:] in self._studies[pod.namespace]


def _invoice(report: Iterable[Line], owners: _Owners, cluster: str) -> _Invoice:
    found, clusters = _Invoice(), set()
    for line in report:
        hour = line.time - line.time % _HOUR
        if line.pod is None:
            node = (line.resource, hour)
            into = found.rebates if line.kind in _REBATES else found.nodes
            into[node] = into.get(node, Decimal(0)) + line.cost
            continue
        if cluster and line.pod.cluster != cluster:
            continue
        attempt = owners.attempt(line.pod)
        if attempt is None:
            continue
        clusters.add(line.pod.cluster)
        place = (line.pod.namespace, attempt, hour)
        found.costs[place] = found.costs.get(place, Decimal(0)) + line.split
        shares = found.shares.setdefault((line.parent, hour), {})
        shares[place] = shares.get(place, Decimal(0)) + line.split
        found.unused += line.unused
    if len(clusters) > 1:
        names = ", ".join(sorted(clusters))
        raise NotAReport(f"pods of these attempts are in the clusters {names}: name one with --cluster")
    return found


def _credits(invoice: _Invoice) -> tuple[Counter[Place], int]:
    """Each attempt's share of its nodes' credits, and the credits that are nobody's."""
    given: Counter[Place] = Counter()
    unplaced = Decimal(0)
    for node, amount in invoice.rebates.items():
        whole, shares = invoice.nodes.get(node, Decimal(0)), invoice.shares.get(node, {})
        if not shares or whole <= 0:
            unplaced += amount
            continue
        for place, cost in shares.items():
            given[place] += _micro(amount * min(Decimal(1), cost / whole))
    return given, _micro(unplaced)


def _micro(amount: Decimal) -> int:
    return int((amount * MICRO).to_integral_value())
