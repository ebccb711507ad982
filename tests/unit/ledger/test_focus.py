"""The export: exact money, FOCUS's names and rules, and a sum that is the books'."""

import csv
import io
import json
import random
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from comptroller.ledger import focus
from comptroller.ledger.audit import trusted
from comptroller.ledger.balance import balance
from comptroller.ledger.journal import Journal
from comptroller.ledger.stores import MemoryStore
from comptroller.ledger.testing import ACCOUNT, STUDY, ceiling, close, plausible, post, price, reserve, void

MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd",
    "ChargePeriodStart", "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
}  # fmt: skip
"""FOCUS 1.2, feature level Mandatory."""
NULLABLE = {"ChargeClass", "BillingAccountName", "ChargeDescription"}
STARTED = 1_790_000_000  # 2026-09-21T14:13:20Z


def journal(*batches: list[object], store: MemoryStore | None = None) -> MemoryStore:
    store = store or MemoryStore()
    writer = Journal(store, "cluster-uid", "team", "w", lambda: STARTED + 5_000)
    for entries in batches:
        assert writer.append(entries)  # type: ignore[arg-type]
    return store


def exported(store: MemoryStore) -> list[dict[str, str]]:
    file = io.StringIO()
    count = focus.write_csv(focus.rows(store, "team"), file)
    file.seek(0)
    table = list(csv.DictReader(file))
    assert len(table) == count
    return table


def spent_once() -> MemoryStore:
    return journal(
        [ceiling(10_000_000), reserve(4_000_001), reserve(10, lease=1)],
        [post(4_000_001), void(lease=1), close(seconds=90, started=STARTED)],
    )


def test_an_attempt_is_one_row_with_exact_money() -> None:
    (row,) = exported(spent_once())
    costs = {row[name] for name in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")}
    assert costs == {"4.000001"}
    assert (row["BillingCurrency"], row["ChargeCategory"], row["ChargeClass"]) == ("USD", "Usage", "")
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == (
        "2026-09-21T14:13:20Z",
        "2026-09-21T14:14:50Z",
    )
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (
        "2026-09-01T00:00:00Z",
        "2026-10-01T00:00:00Z",
    )
    assert (row["ConsumedQuantity"], row["ConsumedUnit"]) == ("90.000000", "Seconds")
    assert (row["PricingQuantity"], row["PricingUnit"]) == ("0.025000", "Hours")
    assert (row["BillingAccountId"], row["SubAccountId"], row["SubAccountName"]) == (
        "cluster-uid/team",
        STUDY,
        "cifar",
    )
    assert (row["ResourceName"], row["ResourceId"]) == (
        "cifar-11111111-0000-0",
        f"cluster-uid/team/{STUDY}/0/0",
    )
    assert json.loads(row["Tags"])["comptroller.dev/trial"] == 0
    assert json.loads(row["x_Accounts"]) == [ACCOUNT]


def test_every_mandatory_column_is_there_and_has_a_value() -> None:
    store, rng = journal(), random.Random(2)
    writer = Journal(store, "cluster-uid", "team", "w", lambda: STARTED)
    writer.catch_up()
    for _ in range(60):
        assert writer.append(plausible(writer.books, rng, late=0.2))
    table = exported(store)
    assert {row["ChargeClass"] for row in table} == {"", "Correction"}
    assert len(table) > 20
    assert set(focus.COLUMNS) >= MANDATORY
    for row in table:
        assert all(row[name] for name in MANDATORY - NULLABLE)
        start, end = (datetime.fromisoformat(row[f"ChargePeriod{edge}"]) for edge in ("Start", "End"))
        assert start < end
        assert datetime.fromisoformat(row["BillingPeriodStart"]) <= start
        assert start < datetime.fromisoformat(row["BillingPeriodEnd"])
        assert all(not isinstance(value, dict | list) for value in json.loads(row["Tags"]).values())
        assert row["PricingCategory"] in {"Standard", "Dynamic"}


def test_the_export_sums_to_the_books() -> None:
    store, rng = MemoryStore(), random.Random(5)
    writer = Journal(store, "cluster-uid", "team", "w", lambda: STARTED)
    writer.catch_up()
    for _ in range(60):
        assert writer.append(plausible(writer.books, rng, late=0.2))
    writer.append([close(a.trial, a.number) for a in writer.books.open.values() if not a.held])
    books = trusted(store, "team").books
    open_spend = sum(attempt.spent for attempt in books.open.values())
    total = sum(Decimal(row["BilledCost"]) for row in exported(store)) * 10**6
    assert total == books.accounts[ACCOUNT].spent - open_spend
    assert total > 0


def test_december_ends_in_january() -> None:
    store = journal([ceiling(10), reserve(1)], [post(1), close(seconds=60, started=1_798_761_590)])
    (row,) = exported(store)
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == (
        "2026-12-31T23:59:50Z",
        "2027-01-01T00:00:50Z",
    )
    assert (row["BillingPeriodStart"], row["BillingPeriodEnd"]) == (
        "2026-12-01T00:00:00Z",
        "2027-01-01T00:00:00Z",
    )


def test_an_attempt_whose_times_are_unknown_is_dated_by_the_batch_that_closed_it() -> None:
    unknown = close(seconds=60).model_copy(update={"started": 0, "ended": 0})
    (row,) = exported(journal([ceiling(10), reserve(1)], [post(1), unknown]))
    assert (row["ChargePeriodStart"], row["ChargePeriodEnd"]) == (
        "2026-09-21T15:35:40Z",
        "2026-09-21T15:36:40Z",
    )


def test_a_charge_has_a_length_even_where_the_attempt_had_none() -> None:
    (row,) = exported(journal([ceiling(10), reserve(1)], [post(1), close(seconds=0, started=STARTED)]))
    assert row["ChargePeriodStart"] < row["ChargePeriodEnd"]


def test_what_never_ran_and_cost_nothing_is_no_charge() -> None:
    assert exported(journal([ceiling(10), reserve(1)], [void(), close(seconds=0)])) == []


def test_a_row_names_the_price_that_its_attempt_was_launched_at() -> None:
    (row,) = exported(
        journal(
            [ceiling(10_000), price(0), reserve(4_000)],
            [price(1)],
            [post(3_000), close(seconds=90, started=STARTED)],
        )
    )
    assert (row["BilledCost"], row["x_PriceRevision"]) == ("0.003000", "0")


def test_a_row_of_an_attempt_without_a_price_names_none() -> None:
    (row,) = exported(spent_once())
    assert row["x_PriceRevision"] == ""


def test_an_attempt_that_is_still_open_is_not_charged_yet() -> None:
    assert exported(journal([ceiling(10), reserve(5)], [post(5)])) == []


def test_parquet_has_exact_decimals_and_the_same_rows(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert focus.write_parquet(focus.rows(spent_once(), "team"), tmp_path / "f.parquet") == 1
    table = parquet.read_table(tmp_path / "f.parquet")
    assert table.column_names == list(focus.COLUMNS)
    (row,) = table.to_pylist()
    assert row["BilledCost"] == Decimal("4.000001")
    assert row["ChargeClass"] is None
    assert row["ChargePeriodStart"].isoformat() == "2026-09-21T14:13:20+00:00"


def test_without_pyarrow_parquet_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(focus, "import_module", absent)
    with pytest.raises(focus.NoParquet, match=r"comptroller\[parquet\]"):
        focus.write_parquet([], tmp_path / "f.parquet")


def test_a_balance_shows_each_account_and_trial_and_how_they_came_to_be() -> None:
    found = balance(spent_once(), "team", explain=True)
    (account,) = found.accounts
    assert (account.spent, account.held, account.room) == (4_000_001, 0, 5_999_999)
    (trial,) = found.trials
    assert (trial.name, trial.trial, trial.attempts, trial.seconds, trial.spent) == (
        "cifar",
        0,
        1,
        90,
        4_000_001,
    )
    assert [(m.sequence, m.spent, m.held) for m in found.movements] == [
        (0, 0, 0),
        (0, 0, 4_000_001),
        (0, 0, 4_000_011),
        (1, 4_000_001, 10),
        (1, 4_000_001, 0),
    ]


def test_a_balance_of_one_study_has_the_accounts_it_draws_on() -> None:
    other = reserve(7, study="other", accounts=("budget/b",)).model_copy(
        update={"name": "mnist-other-0000-0"}
    )
    store = journal([ceiling(10), ceiling(20, account="budget/b"), reserve(5), other])
    for asked in ("mnist", "other"):
        found = balance(store, "team", study=asked)
        assert [(line.account, line.held) for line in found.accounts] == [("budget/b", 7)]
        assert [line.study for line in found.trials] == ["other"]
    assert balance(store, "team", study="none").trials == []
