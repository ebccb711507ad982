"""The books compared with a cloud provider's report, by resource and hour."""

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from comptroller.cli import app
from comptroller.ledger.audit import trusted
from comptroller.ledger.books import Books
from comptroller.ledger.journal import Journal
from comptroller.ledger.reconcile import hourly
from comptroller.ledger.stores import DirectoryStore, MemoryStore
from comptroller.ledger.testing import ceiling, close, manifest, post, price, reserve

NINE = 1_700_038_800
"""The seconds of a full hour."""
NEW = ("line_item_resource_id", "line_item_usage_start_date", "split_line_item_split_cost")
OLD = ("lineItem/ResourceId", "lineItem/UsageStartDate", "splitLineItem/SplitCost")
POD = "arn:aws:eks:eu-west-1:123456789012:pod/prod/team/cifar-11111111-0000-0-x7k2p/0b1c"


def written(store, started=NINE + 1800, seconds=3600, spent=900):
    journal = Journal(store, "c", "team", "w", lambda: NINE)
    journal.catch_up()
    assert journal.append([manifest(), ceiling(10**9), price(), reserve(10**6)])
    assert journal.append([post(spent), close(started=started, seconds=seconds)])
    return store


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    written(DirectoryStore(tmp_path / "ledger"))
    return tmp_path / "ledger"


def report(path: Path, rows: list[tuple[str, str, str]], columns: tuple[str, ...] = NEW) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "line_item_usage_type"])
        writer.writerows([*row, "EU-EKS-EC2-vCPU-Hours"] for row in rows)
    return path


EQUAL = [
    (POD, "2023-11-15T09:00:00Z", "0.000300"),
    (POD, "2023-11-15T09:00:00Z", "0.000150"),
    (POD, "2023-11-15T10:00:00Z", "0.00045"),
    (POD.replace("/team/", "/other/"), "2023-11-15T09:00:00Z", "7"),
    ("i-0123", "2023-11-15T09:00:00Z", ""),
]


def books(store: MemoryStore) -> Books:
    return trusted(store, "team").books


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["ledger", "reconcile", *(str(word) for word in words)])


@pytest.mark.parametrize("columns", [NEW, OLD])
def test_books_that_agree_with_the_report_pass(
    ledger: Path, tmp_path: Path, columns: tuple[str, ...]
) -> None:
    result = run(ledger, "--cur", report(tmp_path / "cur.csv", EQUAL, columns))
    assert result.exit_code == 0, result.output
    assert "2 hours of attempts: 0.0009 booked, 0.0009 invoiced, 0 differ" in result.output


def test_a_difference_is_reported_by_resource_and_hour(ledger: Path, tmp_path: Path) -> None:
    file = report(tmp_path / "cur.csv", [*EQUAL[:2], (POD, "2023-11-15T11:00:00Z", "0.0001")])
    result = run(ledger, "--cur", file, "-o", "json")
    assert result.exit_code == 1
    found = json.loads(result.output)["differences"]
    assert [(d["attempt"], d["hour"], d["booked"], d["invoiced"]) for d in found] == [
        ("cifar-11111111-0000-0", "2023-11-15T10:00:00Z", "0.00045", "0.00"),
        ("cifar-11111111-0000-0", "2023-11-15T11:00:00Z", "0.00", "0.0001"),
    ]


def test_a_tolerance_is_a_share_of_what_is_invoiced(ledger: Path, tmp_path: Path) -> None:
    file = report(tmp_path / "cur.csv", [(POD, f"2023-11-15T{h}:00:00Z", "0.00047") for h in ("09", "10")])
    assert run(ledger, "--cur", file, "--tolerance", "4").exit_code == 1
    assert run(ledger, "--cur", file, "--tolerance", "5").exit_code == 0


def test_parquet_is_read_as_well(ledger: Path, tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {name: [row[i] for row in EQUAL] for i, name in enumerate(NEW)}
    columns[NEW[2]] = [float(cost or 0) for cost in columns[NEW[2]]]
    pq.write_table(pa.table(columns), tmp_path / "cur.parquet")
    assert run(ledger, "--cur", tmp_path / "cur.parquet").exit_code == 0


@pytest.mark.parametrize(
    ("rows", "columns", "sentence"),
    [
        ([], ("a", "b", "c"), "no column line_item_resource_id"),
        (
            [(POD, "yesterday", "1")],
            NEW,
            "line 2: 'yesterday', None, '1', None: a time or an amount makes no sense",
        ),
        ([(POD, "2023-11-15T09:00:00Z", "much")], NEW, "'much', None: a time or an amount makes no sense"),
    ],
)
def test_what_is_no_report_is_refused(
    ledger: Path, tmp_path: Path, rows: list[tuple[str, str, str]], columns: tuple[str, ...], sentence: str
) -> None:
    result = run(ledger, "--cur", report(tmp_path / "cur.csv", rows, columns))
    assert result.exit_code == 1
    assert sentence in " ".join(result.output.split())


@given(st.integers(NINE, NINE + 7200), st.integers(0, 20_000), st.integers(1, 10**6))
def test_the_hours_of_an_attempt_sum_up_to_what_it_was_billed(started: int, seconds: int, spent: int) -> None:
    amounts = dict(hourly(books(written(MemoryStore(), started, seconds, spent)), "team"))
    assert sum(amounts.values()) == spent
    assert min(amounts.values()) >= 0
    assert all(hour % 3600 == 0 for _, _, hour in amounts)


def test_an_attempt_whose_start_nobody_saw_ran_for_the_billed_time() -> None:
    store = MemoryStore()
    journal = Journal(store, "c", "team", "w", lambda: NINE)
    unseen = close(seconds=1800, started=0).model_copy(update={"ended": NINE + 3600})
    assert journal.append([ceiling(10**9), reserve(10**6), post(900), unseen])
    assert dict(hourly(books(store), "team")) == {("team", "cifar-11111111-0000-0", NINE): 900}


FULL = (
    *NEW,
    "line_item_line_item_type",
    "line_item_unblended_cost",
    "split_line_item_unused_cost",
    "split_line_item_parent_resource_id",
    "resource_tags",
)
NODE, HOURS = "i-0abc", ("2023-11-15T09:00:00Z", "2023-11-15T10:00:00Z")


def full(resource=POD, hour=HOURS[0], split="", kind="Usage", cost="0", unused="", parent=NODE, **tags):
    return (resource, hour, split, kind, cost, unused, parent, json.dumps(tags))


def content(rows, columns=FULL) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


AGREE = [full(split="0.00045"), full(hour=HOURS[1], split="0.00045")]


def found(ledger: Path, tmp_path: Path, rows, *words: str) -> dict[str, Any]:
    (tmp_path / "cur.csv").write_text(content(rows))
    result = run(ledger, "--cur", tmp_path / "cur.csv", "-o", "json", *words)
    assert result.exit_code in {0, 1}, result.output
    summary: dict[str, Any] = json.loads(result.output)
    return summary


def test_a_report_is_read_however_the_fields_tools_write_it(ledger: Path, tmp_path: Path) -> None:
    plain = content(AGREE)
    marked = "\ufeff" + plain
    (tmp_path / "marked.csv").write_text(marked)
    # The name proves nothing: tools unpack, rename and partition these files.
    (tmp_path / "part-0").write_bytes(gzip.compress(marked.encode()))
    with zipfile.ZipFile(tmp_path / "cur.zip", "w") as archive:
        archive.writestr("cur-1.csv", marked)
    older = ("lineItem/LineItemType", "lineItem/UnblendedCost", "splitLineItem/UnusedCost")
    columns = (*OLD, *older, "splitLineItem/ParentResourceId", "resourceTags/user:team")
    (tmp_path / "older.csv").write_text(content(AGREE, columns=columns))
    for name in ("marked.csv", "part-0", "cur.zip", "older.csv"):
        result = run(ledger, "--cur", tmp_path / name)
        assert result.exit_code == 0, (name, result.output)
        assert "0.0009 booked, 0.0009 invoiced" in result.output
    parts = [tmp_path / "1.csv", tmp_path / "2.csv"]
    for part, row in zip(parts, AGREE, strict=True):
        part.write_text(content([row]))
    assert run(ledger, "--cur", parts[0], "--cur", parts[1]).exit_code == 0


def test_parquet_of_cur_2_has_times_doubles_and_a_map_of_tags(ledger: Path, tmp_path: Path) -> None:
    tags = [("aws:eks:workload-type", "Job"), ("aws:eks:workload-name", "cifar-11111111-0000-0")]
    table = pa.table(
        {
            "line_item_resource_id": [POD.replace("cifar-11111111-0000-0-x7k2p", "renamed")] * 2,
            "line_item_usage_start_date": pa.array([NINE * 1000, (NINE + 3600) * 1000], pa.timestamp("ms")),
            "split_line_item_split_cost": pa.array([0.00045, 0.00045], pa.float64()),
            "resource_tags": pa.array([tags, tags], pa.map_(pa.string(), pa.string())),
        }
    )
    pq.write_table(table, tmp_path / "data.snappy.parquet")
    assert run(ledger, "--cur", tmp_path / "data.snappy.parquet").exit_code == 0


@pytest.mark.parametrize(
    "name", ["nginx-7d9c-x7k2p", "cifar-22222222-0000-0-x7k2p", "cifar-11111111-x7k2p", "backup-0-0-x7k2p"]
)
def test_pods_of_the_namespace_that_are_no_attempts_are_not_counted(
    ledger: Path, tmp_path: Path, name: str
) -> None:
    foreign = POD.replace("cifar-11111111-0000-0-x7k2p", name)
    assert found(ledger, tmp_path, [*AGREE, full(foreign, split="7")])["invoiced"] == "0.0009"


def test_pods_of_indexed_jobs_are_their_attempts(ledger: Path, tmp_path: Path) -> None:
    pods = [POD.replace("-0-x7k2p", f"-0-{index}-x7k2p") for index in range(2)]
    rows = [full(pod, hour, "0.000225") for pod in pods for hour in HOURS]
    assert found(ledger, tmp_path, rows)["differences"] == []


def test_the_owner_decides_where_the_report_names_it(ledger: Path, tmp_path: Path) -> None:
    tags = {"aws_eks_workload_type": "Deployment", "aws_eks_workload_name": "cifar-11111111-0000-0"}
    assert found(ledger, tmp_path, [*AGREE, full(split="7", **tags)])["invoiced"] == "0.0009"
    tags = {"aws:eks:workload-type": "Job", "aws:eks:workload-name": "another"}
    assert found(ledger, tmp_path, [*AGREE, full(split="7", **tags)])["invoiced"] == "0.0009"


def test_an_attempt_of_a_known_study_that_the_books_do_not_have_is_reported(
    ledger: Path, tmp_path: Path
) -> None:
    unknown = POD.replace("0000-0-x7k2p", "0007-0-x7k2p")
    (line,) = found(ledger, tmp_path, [*AGREE, full(unknown, split="7")])["differences"]
    assert (line["attempt"], line["booked"], line["invoiced"]) == ("cifar-11111111-0007-0", "0.00", "7.00")


def test_pods_of_another_cluster_are_not_mixed_in(ledger: Path, tmp_path: Path) -> None:
    rows = [*AGREE, full(POD.replace("pod/prod/", "pod/copy/"), split="7")]
    (tmp_path / "cur.csv").write_text(content(rows))
    refused = run(ledger, "--cur", tmp_path / "cur.csv")
    assert refused.exit_code == 1
    assert "in the clusters copy, prod: name one with --cluster" in " ".join(refused.output.split())
    assert found(ledger, tmp_path, rows, "--cluster", "prod")["invoiced"] == "0.0009"
    assert found(ledger, tmp_path, rows, "--cluster", "other")["invoiced"] == "0.00"


def test_credits_of_a_node_are_shared_by_what_its_pods_cost(ledger: Path, tmp_path: Path) -> None:
    rows = [
        *[full(hour=hour, split="0.00045", unused="0.0001") for hour in HOURS],
        *[full(NODE, hour, "", "Usage", "0.0009", parent="") for hour in HOURS],
        full(NODE, HOURS[0], "", "Credit", "-0.0006", parent=""),
        full("", HOURS[0], "", "Credit", "-50", parent=""),
        full("i-other", HOURS[0], "", "Refund", "-3", parent=""),
    ]
    sums = found(ledger, tmp_path, rows)
    assert (sums["invoiced"], sums["credits"], sums["unplacedCredits"]) == ("0.0009", "-0.0003", "-53.00")
    assert sums["unused"] == "0.0002"


def test_nothing_to_compare_is_a_failure(tmp_path: Path) -> None:
    journal = Journal(DirectoryStore(tmp_path / "ledger"), "c", "team", "w", lambda: NINE)
    assert journal.append([ceiling(1)])
    (tmp_path / "cur.csv").write_text(content([full(POD.replace("cifar", "x"), split="1")]))
    result = run(tmp_path / "ledger", "--cur", tmp_path / "cur.csv")
    assert result.exit_code == 1
    assert "nothing was compared" in result.output


@pytest.mark.parametrize(
    "data",
    [b"", b"\x1f\x8bnot gzip", b"PK\x03\x04not zip", b"PAR1not parquet", b"\xff\xfe\x00", b"a,b\n1,2\n"],
)
def test_files_that_are_no_reports_are_refused_with_a_sentence(
    ledger: Path, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "cur.csv").write_bytes(data)
    result = run(ledger, "--cur", tmp_path / "cur.csv")
    assert result.exit_code == 1
    assert result.output.startswith("error: ")
