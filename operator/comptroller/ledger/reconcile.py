"""The books beside an AWS Cost and Usage Report: what was billed, and what AWS asks for the same pods.

With split cost allocation data for EKS a report has lines for each pod and hour, one for its cores, one for
its memory, one for its accelerators. Their resource is the pod's ARN, `arn:aws:eks:<region>:<account>:pod/
<cluster>/<namespace>/<pod>/<uid>`, and their cost is the split cost (AWS Data Exports, "Split line item
columns"; CUR 2.0 and the older report name them alike, but for their spelling). An attempt's pod is named
after its Job, which is named after the attempt, with a suffix of five characters.

The unused cost, which is a node's idle capacity shared out over its pods, is left out: no attempt is billed
for it. So are net costs, which a report has only where the account has a discount.
"""

import csv
import gzip
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeAlias

from comptroller.ledger.audit import trusted
from comptroller.ledger.focus import pyarrow
from comptroller.ledger.store import Store
from comptroller_api.money import MICRO

_POD = re.compile(r"pod/[^/]+/(?P<namespace>[^/]+)/(?P<job>[^/]+)-[a-z0-9]{5}(/|\Z)")
_HOUR = 3600
_COLUMNS = {
    "resource": ("line_item_resource_id", "lineItem/ResourceId"),
    "start": ("line_item_usage_start_date", "lineItem/UsageStartDate"),
    "cost": ("split_line_item_split_cost", "splitLineItem/SplitCost"),
}

Place: TypeAlias = tuple[str, str, int]
"""A namespace, an attempt's name, and the hour's first moment in unix seconds."""


class NotAReport(ValueError):  # noqa: N818 - says what it is
    """The file lacks a column, or a line of it makes no sense."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One resource in one hour, in micro-units."""

    namespace: str
    attempt: str
    hour: int
    booked: int
    invoiced: int

    @property
    def difference(self) -> int:
        """What AWS asks for beyond what the books have."""
        return self.invoiced - self.booked


def reconcile(store: Store, namespaces: Iterable[str], report: Path) -> list[Difference]:
    """Every resource and hour that the books or the report have, in order.

    Args:
        store: where the journals are.
        namespaces: whose books; lines of other namespaces' pods are not looked at.
        report: CSV, CSV with gzip, or Parquet.

    Raises:
        NotAReport: the file is none.
        NoParquet: it is Parquet, and pyarrow is not installed.
        OSError: it could not be read.
        Untrusted: a journal is damaged.
    """
    names = set(namespaces)
    booked: Counter[Place] = Counter()
    for name in names:
        for place, amount in hourly(store, name):
            booked[place] += amount
    asked = invoiced(lines(report), names)
    return [Difference(*place, booked[place], asked[place]) for place in sorted(booked.keys() | asked.keys())]


def hourly(store: Store, namespace: str) -> Iterator[tuple[Place, int]]:
    """What each closed attempt was billed, spread over the hours in which it ran; together exactly that."""
    for attempts in trusted(store, namespace).books.trials.values():
        for attempt in attempts:
            if attempt.open or not attempt.spent:
                continue
            # Where nobody saw it start, as in the export: it ran for the seconds that were billed.
            started = attempt.started or max(0, attempt.ended - attempt.seconds)
            seconds = max(1, attempt.ended - started)
            ended, told = started + seconds, 0
            for hour in range(started - started % _HOUR, ended, _HOUR):
                so_far = attempt.spent * (min(hour + _HOUR, ended) - started) // seconds
                yield (namespace, attempt.name, hour), so_far - told
                told = so_far


def invoiced(report: Iterable[Mapping[str, object]], namespaces: set[str]) -> Counter[Place]:
    """What the report asks for the pods of attempts, by resource and hour.

    Raises:
        NotAReport: a line's cost or time is none.
    """
    sums: dict[Place, Decimal] = {}
    for number, line in enumerate(report, 2):
        pod = _POD.search(str(line["resource"] or ""))
        if pod is None or pod["namespace"] not in namespaces:
            continue
        try:
            start = int(_moment(line["start"]).timestamp())
            cost = Decimal(str(line["cost"] or 0))
        except (ValueError, InvalidOperation) as error:
            raise NotAReport(
                f"line {number}: {line['start']!r} or {line['cost']!r} makes no sense"
            ) from error
        place = (pod["namespace"], pod["job"], start - start % _HOUR)
        sums[place] = sums.get(place, Decimal(0)) + cost
    return Counter({place: int((cost * MICRO).to_integral_value()) for place, cost in sums.items()})


def lines(report: Path) -> Iterator[dict[str, object]]:
    """The three columns that matter, by our names for them."""
    if report.suffix == ".parquet":
        _, parquet = pyarrow()
        file = parquet.ParquetFile(report)
        names = _names(file.schema_arrow.names)
        for batch in file.iter_batches(columns=list(names.values())):
            yield from ({ours: row[theirs] for ours, theirs in names.items()} for row in batch.to_pylist())
        return
    opened = gzip.open if report.suffix == ".gz" else open
    with opened(report, "rt", encoding="utf-8", newline="") as text:
        rows = csv.DictReader(text)
        names = _names(rows.fieldnames or ())
        yield from ({ours: row[theirs] for ours, theirs in names.items()} for row in rows)


def _names(header: Iterable[str]) -> dict[str, str]:
    there, found = set(header), {}
    for ours, known in _COLUMNS.items():
        name = next((name for name in known if name in there), None)
        if name is None:
            need = "resource ids, hours and split cost allocation data"
            raise NotAReport(f"it has no column {known[0]}; a report needs {need}")
        found[ours] = name
    return found


def _moment(value: object) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
