"""The books as FOCUS 1.2 or 1.3 rows (FinOps Open Cost and Usage Specification), one for each closed attempt.

An expense that was found after its attempt was closed is a row of its own, a correction.

The ledger is the provider here: what it bills is what a team owes inside its organisation, and `BilledCost`,
`EffectiveCost`, `ListCost` and `ContractedCost` are the same amount, for it knows no discounts. Columns that
FOCUS asks for only of providers that publish SKUs, negotiate prices, sell commitments or split costs are left
out. Columns of our own begin with `x_`, as FOCUS wants. An invoice is what one namespace owes for one month.
"""

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Literal, TypeAlias

from comptroller.ledger.audit import trusted
from comptroller.ledger.balance import named_study
from comptroller.ledger.books import Attempt, Books
from comptroller.ledger.entries import Adjust, Batch, Close, Entry, Place
from comptroller.ledger.names import AttemptKey
from comptroller.ledger.store import Store
from comptroller_api.money import MICRO, to_amount

Kind: TypeAlias = Literal["String", "Decimal", "DateTime", "Integer"]
Value: TypeAlias = str | int | Decimal | datetime | None
Row: TypeAlias = dict[str, Value]

PROVIDER = "Comptroller"
_HOUR = 3600
_PLACES = Decimal(1).scaleb(-6)

COLUMNS: dict[str, Kind] = {
    "BilledCost": "Decimal",
    "BillingAccountId": "String",
    "BillingAccountName": "String",
    "BillingCurrency": "String",
    "BillingPeriodEnd": "DateTime",
    "BillingPeriodStart": "DateTime",
    "ChargeCategory": "String",
    "ChargeClass": "String",
    "ChargeDescription": "String",
    "ChargeFrequency": "String",
    "ChargePeriodEnd": "DateTime",
    "ChargePeriodStart": "DateTime",
    "ConsumedQuantity": "Decimal",
    "ConsumedUnit": "String",
    "ContractedCost": "Decimal",
    "EffectiveCost": "Decimal",
    "InvoiceId": "String",
    "InvoiceIssuerName": "String",
    "ListCost": "Decimal",
    "PricingCategory": "String",
    "PricingQuantity": "Decimal",
    "PricingUnit": "String",
    "ProviderName": "String",
    "PublisherName": "String",
    "ResourceId": "String",
    "ResourceName": "String",
    "ResourceType": "String",
    "ServiceCategory": "String",
    "ServiceName": "String",
    "ServiceSubcategory": "String",
    "SubAccountId": "String",
    "SubAccountName": "String",
    "Tags": "String",
    "x_Accounts": "String",
    "x_AttemptEnd": "String",
    "x_AttemptNumber": "Integer",
    "x_NodeClass": "String",
    "x_PriceRevision": "Integer",
    "x_Sequence": "Integer",
    "x_Trial": "Integer",
}
"""The columns of FOCUS 1.2, in its order, which is alphabetical; then our own."""

_ADDED: dict[str, Kind] = {"HostProviderName": "String", "ServiceProviderName": "String"}
"""Columns of FOCUS 1.3, which still has the columns that they replace."""


class Version(StrEnum):
    """The versions of FOCUS that can be exported."""

    V1_2 = "1.2"
    V1_3 = "1.3"

    @property
    def columns(self) -> dict[str, Kind]:
        """The columns and their types, in order."""
        if self is Version.V1_2:
            return COLUMNS
        every = COLUMNS | _ADDED
        return {name: every[name] for name in sorted(every, key=lambda name: (name.startswith("x_"), name))}


class NoParquet(RuntimeError):  # noqa: N818 - says what is missing
    """Parquet was requested, and pyarrow is not installed."""


def rows(store: Store, namespace: str) -> Iterator[Row]:
    """Yield a row for each closed attempt that cost or ran and for each adjustment, in the journal's order.

    Raises:
        Untrusted: there is no journal, or it is damaged.
        Unavailable: the store could not be read.
    """
    closed: list[tuple[Batch, Close | Adjust]] = []

    places: dict[AttemptKey, Place] = {}

    def observe(batch: Batch, entry: Entry, _: Books) -> None:
        if isinstance(entry, Place):
            places[entry.key] = entry
        if isinstance(entry, Close | Adjust):
            closed.append((batch.model_copy(update={"entries": ()}), entry))

    books = trusted(store, namespace, observe).books
    for batch, entry in closed:
        attempt = books.trials[entry.study, entry.trial][entry.attempt]
        if (place := places.get(entry.key)) is not None:
            ran_on = place.node_class or attempt.node_class
            attempt = replace(attempt, node_class=ran_on, capacity=place.capacity)
        currency = books.accounts[attempt.accounts[0]].currency
        if isinstance(entry, Adjust):
            yield _adjusted(_row(batch, attempt, currency), batch, attempt, entry, currency)
        elif attempt.spent or attempt.seconds:
            yield _row(batch, attempt, currency)


def _adjusted(row: Row, batch: Batch, attempt: Attempt, entry: Adjust, currency: str) -> Row:
    """Return `row` as the correction that `entry` makes to it."""
    cost = Decimal(entry.amount) / MICRO
    # In the month of the charge itself it is no correction yet, but part of the invoice.
    late = _month(batch.time)[0] != row["BillingPeriodStart"]
    what = f"{attempt.name}: {entry.seconds} s more, {to_amount(entry.amount)} {currency}: {entry.reason}"
    return row | {
        **dict.fromkeys(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost"), cost),
        "ChargeClass": "Correction" if late else None,
        "ChargeDescription": what,
        "ConsumedQuantity": Decimal(entry.seconds),
        "PricingQuantity": (Decimal(entry.seconds) / _HOUR).quantize(_PLACES),
    }


def _row(batch: Batch, attempt: Attempt, currency: str) -> Row:
    cost = Decimal(attempt.spent) / MICRO
    # Where nobody saw it end, the batch that closed it is the best there is.
    end = attempt.ended or batch.time
    start = attempt.started or end - attempt.seconds
    first, last = _month(start)
    resource = f"{batch.cluster}/{batch.namespace}/{attempt.study}/{attempt.trial}/{attempt.number}"
    amount = f"{to_amount(attempt.spent)} {currency}"
    return {
        "BilledCost": cost,
        "BillingAccountId": f"{batch.cluster}/{batch.namespace}",
        "BillingAccountName": batch.namespace,
        "BillingCurrency": currency,
        "BillingPeriodEnd": last,
        "BillingPeriodStart": first,
        "ChargeCategory": "Usage",
        "ChargeClass": None,
        "ChargeDescription": f"{attempt.name}: {attempt.seconds} s on {attempt.node_class}, {amount}",
        "ChargeFrequency": "Usage-Based",
        # A charge has a length: its end is exclusive.
        "ChargePeriodEnd": _moment(max(end, start + 1)),
        "ChargePeriodStart": _moment(start),
        "ConsumedQuantity": Decimal(attempt.seconds),
        "ConsumedUnit": "Seconds",
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "HostProviderName": PROVIDER,  # the service's own name, where its customers cannot see the host
        "InvoiceId": f"{batch.cluster}/{batch.namespace}/{first:%Y-%m}",
        "InvoiceIssuerName": PROVIDER,
        "ListCost": cost,
        "PricingCategory": "Dynamic" if attempt.capacity == "Spot" else "Standard",
        "PricingQuantity": (Decimal(attempt.seconds) / _HOUR).quantize(_PLACES),
        "PricingUnit": "Hours",
        "ProviderName": PROVIDER,
        "PublisherName": PROVIDER,
        "ResourceId": resource,
        "ResourceName": attempt.name,
        "ResourceType": "Attempt",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Training",
        "ServiceProviderName": PROVIDER,
        "ServiceSubcategory": "Machine Learning",
        "SubAccountId": attempt.study,
        "SubAccountName": named_study(attempt),
        "Tags": _tags(attempt),
        "x_Accounts": json.dumps(attempt.accounts),
        "x_AttemptEnd": attempt.end,
        "x_AttemptNumber": attempt.number,
        "x_NodeClass": attempt.node_class,
        # In force when it was launched: the journal has its rates, and those that followed while it ran.
        "x_PriceRevision": attempt.price.revision if attempt.price else None,
        "x_Sequence": batch.sequence,
        "x_Trial": attempt.trial,
    }


def _tags(attempt: Attempt) -> str:
    tags: dict[str, str | int] = {
        "study": named_study(attempt),
        "trial": attempt.trial,
        "attempt": attempt.number,
        "rung": attempt.rung,
        "capacity": attempt.capacity,
    }
    return json.dumps({f"comptroller.dev/{name}": value for name, value in tags.items()}, sort_keys=True)


def _month(unix: int) -> tuple[datetime, datetime]:
    """The calendar month in UTC, which is the billing period, from its first moment to the next one's."""
    first = _moment(unix).replace(day=1, hour=0, minute=0, second=0)
    following = (first.year + 1, 1) if first.month == 12 else (first.year, first.month + 1)  # noqa: PLR2004
    return first, first.replace(year=following[0], month=following[1])


def _moment(unix: int) -> datetime:
    return datetime.fromtimestamp(unix, UTC)


def write_csv(table: Iterable[Row], file: IO[str], version: Version = Version.V1_2) -> int:
    """Write CSV with a header, with the columns of `version`.

    Returns:
        The number of rows.
    """
    writer = csv.writer(file, lineterminator="\n")
    columns = version.columns
    writer.writerow(columns)
    count = 0
    for row in table:
        writer.writerow([text(row[name]) for name in columns])
        count += 1
    return count


def text(value: Value) -> str:
    """Return one value as CSV has it: a null is empty, a time is ISO 8601 in UTC."""
    match value:
        case None:
            return ""
        case datetime():
            return f"{value:%Y-%m-%dT%H:%M:%SZ}"
        case Decimal():
            return f"{value:.6f}"
        case _:
            return str(value)


def write_parquet(table: Iterable[Row], path: Path, version: Version = Version.V1_2) -> int:
    """Write Parquet with exact decimals and UTC timestamps, with the columns of `version`.

    Returns:
        The number of rows.

    Raises:
        NoParquet: pyarrow is not installed.
    """
    arrow, parquet = pyarrow()
    kinds: dict[Kind, Any] = {
        "String": arrow.string(),
        "Decimal": arrow.decimal128(24, 6),
        "DateTime": arrow.timestamp("s", tz="UTC"),
        "Integer": arrow.int64(),
    }
    schema = arrow.schema([(name, kinds[kind]) for name, kind in version.columns.items()])
    found = list(table)
    columns = [
        arrow.array([row[name] for row in found], kinds[kind]) for name, kind in version.columns.items()
    ]
    parquet.write_table(arrow.Table.from_arrays(columns, schema=schema), path)
    return len(found)


def pyarrow() -> tuple[Any, Any]:
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise NoParquet("Parquet needs pyarrow: pip install 'comptroller[parquet]'; or export CSV") from error
