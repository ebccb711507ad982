"""`ledger reconcile`: compare the books with the cloud provider's report."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from comptroller.cli.console import REFUSED, Form, Output, console, print_json, refuse
from comptroller.cli.ledger import Namespace, Uri, opened, table
from comptroller.ledger.costreport import NotAReport
from comptroller.ledger.focus import NoParquet
from comptroller.ledger.reconcile import Difference, Reconciliation
from comptroller.ledger.reconcile import reconcile as compare
from comptroller_api.money import to_amount


def reconcile(
    uri: Uri,
    report: Annotated[
        list[Path],
        typer.Option(
            "--cur",
            metavar="FILE",
            help="An AWS Cost and Usage Report: CSV (plain, gzip, zip) or Parquet; repeat for its parts.",
        ),
    ],
    namespace: Namespace = None,
    cluster: Annotated[
        str, typer.Option(metavar="NAME", help="The EKS cluster, where the report has pods of several.")
    ] = "",
    tolerance: Annotated[
        int, typer.Option(min=0, max=100, metavar="PERCENT", help="How far an hour may be off the report.")
    ] = 0,
    output: Output = Form.TABLE,
) -> None:
    """Compare the books with an AWS Cost and Usage Report, by attempt and hour.

    The report needs resource ids, hours, and split cost allocation data for EKS. Exit 1 where an hour differs
    by more than the tolerance.
    """
    with opened(uri, namespace) as (store, names):
        try:
            found = compare(store, names, report, cluster)
        except (NotAReport, NoParquet, OSError) as error:
            refuse(f"{', '.join(map(str, report))}: {error}")
    apart = [line for line in found.lines if abs(line.difference) * 100 > tolerance * line.invoiced]
    sums = _sums(found)
    if output is Form.JSON:
        print_json({"hours": len(found.lines), "differences": [_line(line) for line in apart], **sums})
    else:
        _print(apart)
        typer.echo(
            f"{len(found.lines)} hours of attempts: {sums['booked']} booked, {sums['invoiced']} invoiced,"
            f" {len(apart)} differ by more than {tolerance}%"
        )
        typer.echo(
            f"not compared: {sums['credits']} credits on the attempts' nodes, {sums['unplacedCredits']} other"
            f" credits, {sums['unused']} for idle capacity of nodes"
        )
    if apart:
        raise typer.Exit(REFUSED)


def _print(apart: list[Difference]) -> None:
    if not apart:
        return
    shown = table("HOUR", "NAMESPACE", "ATTEMPT", "BOOKED", "INVOICED", "DIFFERENCE", "CREDITS")
    for line in apart:
        amounts = map(_signed, (line.booked, line.invoiced, line.difference, line.credits))
        shown.add_row(_hour(line.hour), line.namespace, line.attempt, *amounts)
    console().print(shown)


def _line(line: Difference) -> dict[str, Any]:
    money = {name: _signed(getattr(line, name)) for name in ("booked", "invoiced", "difference", "credits")}
    return asdict(line) | money | {"hour": _hour(line.hour)}


def _sums(found: Reconciliation) -> dict[str, str]:
    names = ("booked", "invoiced", "credits")
    sums = {name: _signed(sum(getattr(line, name) for line in found.lines)) for name in names}
    return sums | {"unplacedCredits": _signed(found.unplaced), "unused": _signed(found.unused)}


def _signed(micro: int) -> str:
    return f"-{to_amount(-micro)}" if micro < 0 else to_amount(micro)


def _hour(unix: int) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%dT%H:00:00Z}"
