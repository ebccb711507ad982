"""An AWS Cost and Usage Report, read: CSV (plain, gzip or zip) or Parquet, CUR 2.0 or the older report.

Lines are read one at a time, since a month's report can have millions. Only the columns named here are used.
Both reports name them alike but for their spelling; tags are columns of their own, or one map.
"""

import csv
import gzip
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from comptroller.ledger.focus import pyarrow

_REQUIRED = {
    "resource": "line_item_resource_id",
    "start": "line_item_usage_start_date",
    "split": "split_line_item_split_cost",
}
_OPTIONAL = {
    "kind": "line_item_line_item_type",
    "cost": "line_item_unblended_cost",
    "unused": "split_line_item_unused_cost",
    "parent": "split_line_item_parent_resource_id",
}
_TAGS = "resource_tags"
_CLUSTER, _NAMESPACE = "aws_eks_cluster_name", "aws_eks_namespace"
_OWNER_KIND, _OWNER = "aws_eks_workload_type", "aws_eks_workload_name"
_GZIP, _ZIP, _PARQUET = b"\x1f\x8b", b"PK\x03\x04", b"PAR1"
_ARN = re.compile(r"pod/(?P<cluster>[^/]+)/(?P<namespace>[^/]+)/(?P<pod>[^/]+)(/|\Z)")
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class NotAReport(ValueError):  # noqa: N818 - says what it is
    """The file lacks a column, or a line of it makes no sense."""


@dataclass(frozen=True, slots=True)
class Pod:
    """The owner of a pod in a line, as far as the report has it."""

    cluster: str
    namespace: str
    name: str
    owner: str
    """The workload's name, where the report has the workload's tags."""
    owner_kind: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a report; money in the report's currency."""

    number: int
    resource: str
    time: int
    """Unix seconds at which its hour begins."""
    kind: str
    """`Usage`, `Credit`, ...; empty where the report does not say."""
    cost: Decimal
    split: Decimal
    """A pod's share of what its node's requested resources cost."""
    unused: Decimal
    """A pod's share of what its node's idle resources cost."""
    parent: str
    """The node's resource id, of a pod's line."""
    pod: Pod | None


def lines(report: Path) -> Iterator[Line]:
    """Yield the lines of a report.

    Raises:
        NotAReport: the file is not a report.
        NoParquet: it is Parquet, and pyarrow is not installed.
        OSError: it could not be read.
    """
    with report.open("rb") as file:
        magic = file.read(4)
    if magic == _PARQUET:
        yield from _parquet(report)
        return
    with _text(report, magic) as text:
        rows = csv.DictReader(text)
        columns = _columns(rows.fieldnames or ())
        for number, row in enumerate(rows, 2):
            yield _line(number, row, columns)


def _parquet(report: Path) -> Iterator[Line]:
    arrow, parquet = pyarrow()
    try:
        file = parquet.ParquetFile(report)
        columns = _columns(file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches(columns=sorted(set(columns.values()))):
            for row in batch.to_pylist():
                number += 1
                yield _line(number, row, columns)
    except arrow.ArrowException as error:
        raise NotAReport(f"it is not Parquet: {error}") from error


@contextmanager
def _text(report: Path, magic: bytes) -> Iterator[io.TextIOBase]:
    """The CSV in a file, without a byte order mark."""
    try:
        if magic.startswith(_GZIP):
            with gzip.open(report, "rt", encoding="utf-8-sig", newline="") as text:
                yield text
        elif magic.startswith(_ZIP):
            with zipfile.ZipFile(report) as archive:
                names = [name for name in archive.namelist() if name.endswith(".csv")]
                if len(names) != 1:
                    raise NotAReport(f"the archive has {len(names)} .csv files; expected one")
                with archive.open(names[0]) as inside:
                    yield io.TextIOWrapper(inside, encoding="utf-8-sig", newline="")
        else:
            with report.open("rt", encoding="utf-8-sig", newline="") as text:
                yield text
    except (UnicodeDecodeError, EOFError, zipfile.BadZipFile, gzip.BadGzipFile, csv.Error) as error:
        raise NotAReport(f"it is neither CSV (plain, gzip or zip) nor Parquet: {error}") from error


def _columns(header: Iterable[str]) -> dict[str, str]:
    """The file's names of the columns that are used, by ours; tags by their own."""
    spelled = {_spelled(name): name for name in header}
    found: dict[str, str] = {}
    for ours, theirs in _REQUIRED.items():
        if theirs not in spelled:
            need = "resource ids, hours and split cost allocation data"
            raise NotAReport(f"it has no column {theirs}; a report needs {need}")
        found[ours] = spelled[theirs]
    found |= {ours: spelled[theirs] for ours, theirs in _OPTIONAL.items() if theirs in spelled}
    for name, theirs in spelled.items():
        if name == _TAGS:
            found[_TAGS] = theirs
        elif name.startswith(f"{_TAGS}_"):
            found[name.removeprefix(f"{_TAGS}_")] = theirs
    tags = {_TAGS, _CLUSTER, _NAMESPACE, _OWNER_KIND, _OWNER}
    return {ours: name for ours, name in found.items() if ours in tags | _REQUIRED.keys() | _OPTIONAL.keys()}


def _spelled(name: str) -> str:
    """A column's name as CUR 2.0 spells it: `lineItem/ResourceId` is `line_item_resource_id`."""
    return re.sub(r"[^a-z0-9]+", "_", _WORD.sub("_", name.strip()).lower())


def _line(number: int, row: Mapping[str, Any], columns: Mapping[str, str]) -> Line:
    value = {ours: row[theirs] for ours, theirs in columns.items()}
    resource = str(value["resource"] or "")
    try:
        time = int(_moment(value["start"]).timestamp())
        cost, split, unused = (_money(value.get(name)) for name in ("cost", "split", "unused"))
    except (ValueError, InvalidOperation) as error:
        values = ", ".join(repr(value.get(name)) for name in ("start", "cost", "split", "unused"))
        raise NotAReport(f"line {number}: {values}: a time or an amount makes no sense") from error
    return Line(
        number,
        resource,
        time,
        str(value.get("kind") or ""),
        cost,
        split,
        unused,
        str(value.get("parent") or ""),
        _pod(resource, value),
    )


def _pod(resource: str, value: Mapping[str, Any]) -> Pod | None:
    arn = _ARN.search(resource)
    if arn is None:
        return None
    tags = _tags(value.get(_TAGS)) | {name: str(tag) for name, tag in value.items() if tag}
    return Pod(
        tags.get(_CLUSTER) or arn["cluster"],
        tags.get(_NAMESPACE) or arn["namespace"],
        arn["pod"],
        tags.get(_OWNER, ""),
        tags.get(_OWNER_KIND, ""),
    )


def _tags(value: object) -> dict[str, str]:
    """The map of tags, which CSV has as JSON and Parquet as pairs."""
    if isinstance(value, str):
        try:
            value = json.loads(value or "{}")
        except ValueError:
            return {}
    pairs = value.items() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {_spelled(str(name)): str(tag) for name, tag in pairs}


def _money(value: object) -> Decimal:
    found = Decimal(str(value or 0))
    if not found.is_finite():
        raise ValueError(value)
    return found


def _moment(value: object) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
