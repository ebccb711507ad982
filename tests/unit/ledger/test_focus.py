"""The export: exact money, FOCUS's names and rules, and a sum that equals the books'."""

import csv
import io
import json
import os
import random
import subprocess
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from comptroller.ledger import focus
from comptroller.ledger.audit import trusted
from comptroller.ledger.balance import balance
from comptroller.ledger.entries import Adjust, Entry
from comptroller.ledger.journal import Journal
from comptroller.ledger.stores import MemoryStore
from comptroller.ledger.testing import (
    ACCOUNT,
    STUDY,
    ceiling,
    close,
    place,
    plausible,
    post,
    price,
    reserve,
    void,
)

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


def exported(store: MemoryStore, version: focus.Version = focus.Version.V1_2) -> list[dict[str, str]]:
    file = io.StringIO()
    count = focus.write_csv(focus.rows(store, "team"), file, version)
    file.seek(0)
    table = list(csv.DictReader(file))
    assert len(table) == count
    return table


def test_a_charge_names_the_nodes_that_it_is_for() -> None:
    strayed = journal([ceiling(10), reserve(1)], [place(), post(1), close(seconds=60, started=STARTED)])
    (row,) = exported(strayed)
    assert (row["x_NodeClass"], row["PricingCategory"]) == ("large", "Standard")


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
    for name in ("mnist", "other"):
        found = balance(store, "team", study=name)
        assert [(line.account, line.held) for line in found.accounts] == [("budget/b", 7)]
        assert [line.study for line in found.trials] == ["other"]
    assert balance(store, "team", study="none").trials == []


def test_an_invoice_is_what_a_namespace_owes_for_a_month() -> None:
    (row,) = exported(spent_once())
    assert row["InvoiceId"] == "cluster-uid/team/2026-09"


def test_a_late_expense_is_a_correction_once_its_month_is_over() -> None:
    store = spent_once()
    for number, later in enumerate((5_000, 40 * 86_400)):
        writer = Journal(store, "cluster-uid", "team", "w", lambda now=STARTED + later: now)  # type: ignore[misc]
        late = Adjust(study=STUDY, trial=0, attempt=0, number=number, amount=5, seconds=1, reason="seen late")
        writer.catch_up()
        assert writer.append([late])
    assert [row["ChargeClass"] for row in exported(store)] == ["", "", "Correction"]


def test_focus_1_3_names_the_service_and_its_host() -> None:
    (old,), (new,) = exported(spent_once()), exported(spent_once(), focus.Version.V1_3)
    assert set(new) - set(old) == {"HostProviderName", "ServiceProviderName"}
    assert new["HostProviderName"] == new["ServiceProviderName"] == "Comptroller"
    assert {name: new[name] for name in old} == old
    names = [name for name in new if not name.startswith("x_")]
    assert names == sorted(names)


VALIDATOR = "COMPTROLLER_FOCUS_VALIDATOR"
EITHER = {"InvoiceId-C-004-C", "InvoiceId-C-005-C"}
"""The rules that an invoice's id is null, and that it is not; the rule above them requires only one."""


@pytest.mark.skipif(
    VALIDATOR not in os.environ, reason=f"{VALIDATOR} does not name a Python with focus_validator"
)
@pytest.mark.parametrize("version", list(focus.Version))
def test_the_foundations_own_validator_finds_no_fault(tmp_path: Path, version: focus.Version) -> None:
    with (tmp_path / "export.csv").open("w", newline="") as file:
        assert focus.write_csv(focus.rows(of_every_kind(), "team"), file, version) == 10
    words = ["-m", "focus_validator.main", "--data-file", str(tmp_path / "export.csv")]
    words += ["--validate-version", "1.2", "--block-download"]  # the newest version for which it has rules
    run = subprocess.run([os.environ[VALIDATOR], *words], capture_output=True, text=True, check=False)
    failed = {line.split()[1].rstrip(":") for line in run.stdout.splitlines() if line.startswith("\u274c")}
    assert "Pass: 136" in run.stdout, run.stdout[-2000:] + run.stderr[-2000:]
    assert failed < EITHER


def of_every_kind() -> MemoryStore:
    """Write attempts of every end and capacity, paid by a period and by a credit, and late expenses."""
    store, now = MemoryStore(), STARTED
    writer = Journal(store, "cluster-uid", "team", "w", lambda: now)
    period, credit = "budget/team/2026-09", "budget/team/credit/2026-12-31"
    room: list[Entry] = [
        ceiling(10**9),
        ceiling(10**9, account=period),
        ceiling(10**9, account=credit),
        price(),
    ]
    assert writer.append(room)
    for trial, (end, amount, capacity, account) in enumerate(
        [
            ("Preempted", 1_000_000, "Spot", period), ("Finished", 2_500_000, "Spot", credit),
            ("Error", 70_000, "OnDemand", period), ("OutOfMemory", 3, "OnDemand", period),
            ("Finished", 9_000_000, "OnDemand", credit), ("LeaseExpired", 0, "OnDemand", period),
            ("NodeLost", 5_000_001, "OnDemand", period), ("Suspended", 12, "Spot", period),
        ]
    ):  # fmt: skip
        lease = reserve(amount, trial, accounts=(ACCOUNT, account)).model_copy(update={"capacity": capacity})
        closed = close(trial, seconds=300, started=now - 400).model_copy(update={"end": end})
        assert writer.append([lease, post(amount, trial), closed])
    for number in range(2):
        late = Adjust(study=STUDY, trial=0, attempt=0, number=number, amount=5, seconds=1, reason="seen late")
        assert writer.append([late])
        now += 40 * 86_400
    return store
