"""The books beside a cloud provider's report, by resource and hour."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from comptroller.cli import app
from comptroller.ledger.journal import Journal
from comptroller.ledger.reconcile import hourly
from comptroller.ledger.stores import DirectoryStore, MemoryStore
from comptroller.ledger.testing import ceiling, close, manifest, post, price, reserve

NINE = 1_700_038_800
"""A full hour."""
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


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["ledger", "reconcile", *(str(word) for word in words)])


@pytest.mark.parametrize("columns", [NEW, OLD])
def test_books_that_agree_with_the_report_pass(
    ledger: Path, tmp_path: Path, columns: tuple[str, ...]
) -> None:
    result = run(ledger, "--cur", report(tmp_path / "cur.csv", EQUAL, columns))
    assert result.exit_code == 0, result.output
    assert "2 hours of attempts: 0.0009 booked, 0.0009 invoiced, 0 differ" in result.output


def test_a_difference_is_told_by_resource_and_hour(ledger: Path, tmp_path: Path) -> None:
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
    columns = {name: [row[i] for row in EQUAL] for i, name in enumerate(NEW)}
    columns[NEW[2]] = [float(cost or 0) for cost in columns[NEW[2]]]
    pq.write_table(pa.table(columns), tmp_path / "cur.parquet")
    assert run(ledger, "--cur", tmp_path / "cur.parquet").exit_code == 0


@pytest.mark.parametrize(
    ("rows", "columns", "said"),
    [
        ([], ("a", "b", "c"), "no column line_item_resource_id"),
        ([(POD, "yesterday", "1")], NEW, "line 2: 'yesterday' or '1' makes no sense"),
        ([(POD, "2023-11-15T09:00:00Z", "much")], NEW, "'much' makes no sense"),
    ],
)
def test_what_is_no_report_is_refused(
    ledger: Path, tmp_path: Path, rows: list[tuple[str, str, str]], columns: tuple[str, ...], said: str
) -> None:
    result = run(ledger, "--cur", report(tmp_path / "cur.csv", rows, columns))
    assert result.exit_code == 1
    assert said in result.output


@given(st.integers(NINE, NINE + 7200), st.integers(0, 20_000), st.integers(1, 10**6))
def test_the_hours_of_an_attempt_sum_up_to_what_it_was_billed(started: int, seconds: int, spent: int) -> None:
    amounts = dict(hourly(written(MemoryStore(), started, seconds, spent), "team"))
    assert sum(amounts.values()) == spent
    assert min(amounts.values()) >= 0
    assert all(hour % 3600 == 0 for _, _, hour in amounts)


def test_an_attempt_that_nobody_saw_start_ran_for_what_was_billed() -> None:
    store = MemoryStore()
    journal = Journal(store, "c", "team", "w", lambda: NINE)
    unseen = close(seconds=1800, started=0).model_copy(update={"ended": NINE + 3600})
    assert journal.append([ceiling(10**9), reserve(10**6), post(900), unseen])
    assert dict(hourly(store, "team")) == {("team", "cifar-11111111-0000-0", NINE): 900}
