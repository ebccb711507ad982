"""`ledger reconcile`: the books beside what the cloud provider asks for."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from comptroller.cli.console import REFUSED, Form, Output, console, print_json, refuse
from comptroller.cli.ledger import Namespace, Uri, opened, table
from comptroller.ledger.focus import NoParquet
from comptroller.ledger.reconcile import Difference, NotAReport
from comptroller.ledger.reconcile import reconcile as compare
from comptroller_api.money import to_amount


def reconcile(
    uri: Uri,
    report: Annotated[
        Path,
        typer.Option(
            "--cur", metavar="FILE", help="An AWS Cost and Usage Report: .csv, .csv.gz or .parquet."
        ),
    ],
    namespace: Namespace = None,
    tolerance: Annotated[
        int, typer.Option(min=0, max=100, metavar="PERCENT", help="How far an hour may be off the report.")
    ] = 0,
    output: Output = Form.TABLE,
) -> None:
    """Compare the books with an AWS Cost and Usage Report, by resource and hour.

    The report needs resource ids, hours, and split cost allocation data for EKS. Exit 1 where an hour differs
    by more than the tolerance.
    """
    with opened(uri, namespace) as (store, names):
        try:
            found = compare(store, names, report)
        except (NotAReport, NoParquet, OSError) as error:
            refuse(f"{report}: {error}")
    apart = [line for line in found if abs(line.difference) * 100 > tolerance * line.invoiced]
    if output is Form.JSON:
        print_json({"hours": len(found), "differences": [_line(line) for line in apart], **_sums(found)})
    else:
        _print(apart)
        sums = _sums(found)
        typer.echo(
            f"{len(found)} hours of attempts: {sums['booked']} booked, {sums['invoiced']} invoiced,"
            f" {len(apart)} differ by more than {tolerance}%"
        )
    if apart:
        raise typer.Exit(REFUSED)


def _print(apart: list[Difference]) -> None:
    if not apart:
        return
    shown = table("HOUR", "NAMESPACE", "ATTEMPT", "BOOKED", "INVOICED", "DIFFERENCE")
    for line in apart:
        amounts = map(to_amount, (line.booked, line.invoiced, line.difference))
        shown.add_row(_hour(line.hour), line.namespace, line.attempt, *amounts)
    console().print(shown)


def _line(line: Difference) -> dict[str, Any]:
    money = {name: to_amount(getattr(line, name)) for name in ("booked", "invoiced", "difference")}
    return asdict(line) | money | {"hour": _hour(line.hour)}


def _sums(found: list[Difference]) -> dict[str, str]:
    return {name: to_amount(sum(getattr(line, name) for line in found)) for name in ("booked", "invoiced")}


def _hour(unix: int) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%dT%H:00:00Z}"
