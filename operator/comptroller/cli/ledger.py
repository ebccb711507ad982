"""`ledger verify`, `balance` and `export`: read the books from the bucket alone."""

import re
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from comptroller.cli.console import REFUSED, Form, Output, console, print_json, printable, refuse
from comptroller.ledger import focus
from comptroller.ledger.accounts import AccountName
from comptroller.ledger.anchor import published_heads
from comptroller.ledger.audit import Untrusted, Verdict, namespaces
from comptroller.ledger.audit import verify as audit
from comptroller.ledger.balance import Balance
from comptroller.ledger.balance import balance as draw
from comptroller.ledger.encoding import Head
from comptroller.ledger.store import Store, StoreError
from comptroller.ledger.stores import open_store
from comptroller_api.money import to_amount

app = typer.Typer(
    name="ledger",
    help="Check the books, explain a balance, export what was spent. Needs only the bucket.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_BATCH = re.compile(r"(?P<root>.*?)ledger/[^/]+/journal/[0-9]{12}\.json")
_LOOKED_AT = 1_000
"""Keys that are searched for a ledger below the URI."""
_SHORT = 12
"""Digits of a hash in a table; JSON has them all."""
_NUMBERS = frozenset(
    {"CEILING", "SPENT", "HELD", "ROOM", "SECONDS", "BOOKED", "INVOICED", "DIFFERENCE", "CREDITS"}
)
"""Columns to align at the right."""

Uri = Annotated[str, typer.Argument(metavar="URI", help="s3://bucket/prefix, file:///directory, or a path.")]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="One namespace; else all.")]


def _head(text: str) -> Head:
    try:
        return Head.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@app.command()
def verify(
    uri: Uri,
    namespace: Namespace = None,
    head: Annotated[
        Head | None,
        typer.Option(
            "--head",
            "--anchor",
            metavar="SEQUENCE:HASH",
            parser=_head,
            help="A head that `verify` printed or the cluster publishes; it must be in the chain.",
        ),
    ] = None,
    anchors: Annotated[
        Path | None,
        typer.Option(
            "--heads",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Heads of several namespaces: what `verify -o json` printed, or `kubectl get configmaps"
            " -l comptroller.dev/anchor -o json`.",
        ),
    ] = None,
    output: Output = Form.TABLE,
) -> None:
    """Check every byte, every link and every sum; exit 1 if anything is wrong.

    Keep the head that is printed outside of the bucket and pass it to a later `verify --head`: only then
    are batches missed that were cut off at the end.
    """
    if head is not None and namespace is None:
        raise typer.BadParameter("--head belongs to one namespace: give --namespace")
    if head is not None and anchors is not None:
        raise typer.BadParameter("give --head or --heads, not both")
    heads = _heads(anchors) if anchors is not None else {}
    if namespace is not None:
        heads = {name: one for name, one in heads.items() if name == namespace} | (
            {namespace: head} if head is not None else {}
        )
    if anchors is not None and not heads:
        refuse(f"{anchors}: it has no head of {namespace or 'any namespace'}")
    with opened(uri, namespace, heads) as (store, names):
        verdicts = [audit(store, name, anchor=heads.get(name)) for name in names]
    if output is Form.JSON:
        print_json([_verdict(verdict) for verdict in verdicts])
    else:
        for verdict in verdicts:
            _print_verdict(verdict)
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(REFUSED)


def _heads(file: Path) -> dict[str, Head]:
    """Return the heads in `file`, by namespace."""
    try:
        return published_heads(file.read_bytes())
    except (OSError, ValueError) as error:
        refuse(f"{file}: {error}")


@app.command()
def balance(
    uri: Uri,
    namespace: Namespace = None,
    study: Annotated[str, typer.Option(help="A study's name or uid; else all.")] = "",
    account: Annotated[str, typer.Option(help="An account; else all.")] = "",
    explain: Annotated[
        bool, typer.Option("--explain", help="Also every entry that moved an account, and the sums after it.")
    ] = False,
    output: Output = Form.TABLE,
) -> None:
    """Print what each account may spend, has spent and holds, by study and trial."""
    with opened(uri, namespace) as (store, names):
        only = AccountName(account) if account else None
        balances = [draw(store, name, study=study, account=only, explain=explain) for name in names]
    if account and not any(found.accounts for found in balances):
        refuse(f"no account {account!r} is in the books")
    if study and not any(found.trials for found in balances):
        refuse(f"no trial of a study {study!r} is in the books")
    if output is Form.JSON:
        print_json([_balance(found) for found in balances])
        return
    for found in balances:
        _print_balance(found)


@app.command()
def export(
    uri: Uri,
    namespace: Namespace = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file to write; .parquet needs comptroller[parquet]."),
    ] = None,
    version: Annotated[
        focus.Version, typer.Option("--focus", help="The version of FOCUS to write.")
    ] = focus.Version.V1_2,
    output: Annotated[Form | None, typer.Option("--output", "-o", help="json: rows as JSON.")] = None,
) -> None:
    """Export spending as FOCUS rows: CSV to the terminal or a file, JSON, or Parquet to a file."""
    with opened(uri, namespace) as (store, names):
        rows = list(chain.from_iterable(focus.rows(store, name) for name in names))
    if output is Form.JSON:
        print_json([{name: focus.text(row[name]) for name in version.columns} for row in rows])
    elif to is None:
        focus.write_csv(rows, sys.stdout, version)
    else:
        try:
            _write(rows, to, version)
        except (OSError, focus.NoParquet) as error:
            refuse(str(error))
        typer.echo(f"{len(rows)} rows in {to}", err=True)


def _write(rows: Iterable[focus.Row], to: Path, version: focus.Version) -> None:
    if to.suffix == ".parquet":
        focus.write_parquet(rows, to, version)
        return
    with to.open("w", encoding="utf-8", newline="") as file:
        focus.write_csv(rows, file, version)


@contextmanager
def opened(
    uri: str, namespace: str | None, expected: Collection[str] = ()
) -> Iterator[tuple[Store, list[str]]]:
    """Open the store at `uri` for the requested namespaces; any error becomes a sentence and exit 1.

    Args:
        uri: of a ledger.
        namespace: the only one to read; `None`: all that have a journal.
        expected: namespaces that must have a journal too.
    """
    try:
        store = open_store(uri)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        names = sorted(namespaces(store))
        if not names:
            refuse(_no_ledger(store, uri))
        for name in {namespace, *expected} - {None, *names}:
            refuse(f"{uri} has no ledger of {name}; it has {', '.join(names)}")
        yield store, [namespace] if namespace else names
    except (StoreError, Untrusted) as error:
        refuse(str(error))


def _no_ledger(store: Store, uri: str) -> str:
    """Return why `uri` is not a ledger, and the URI of a ledger below it if one is found."""
    why = f"{uri} is not a ledger: no object ledger/NAMESPACE/journal/{0:012d}.json exists there"
    for key in islice(store.keys(), _LOOKED_AT):
        if (found := _BATCH.fullmatch(key)) is not None and found["root"]:
            return f"{why}; did you mean {uri.rstrip('/')}/{found['root'].strip('/')}?"
    return why


def _print_verdict(verdict: Verdict) -> None:
    counts = f"{_count(verdict.batches, 'batch', 'batches')}, {_count(verdict.entries, 'entry', 'entries')}"
    if verdict.passed:
        typer.echo(
            f"ledger {verdict.namespace}: {counts}, chain whole, no prefix over any ceiling: PASS"
            f"\n  head {verdict.head.sequence}:{verdict.head.hash}"
            f"\n  {_count(verdict.snapshots, 'snapshot agrees', 'snapshots agree')} with the batches"
            f"\n  {_count(len(verdict.books.open), 'attempt is', 'attempts are')} open"
        )
        return
    number = _count(len(verdict.violations), "violation", "violations")
    typer.echo(f"ledger {verdict.namespace}: {counts}, {number}: FAIL")
    broken = table("BATCH", "RULE", "WHAT")
    for violation in verdict.violations:
        broken.add_row(str(violation.sequence), violation.rule, violation.detail)
    console().print(broken)


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "namespace": verdict.namespace,
        "cluster": verdict.cluster,
        "passed": verdict.passed,
        "batches": verdict.batches,
        "entries": verdict.entries,
        "snapshots": verdict.snapshots,
        "head": f"{verdict.head.sequence}:{verdict.head.hash}",
        "openAttempts": [attempt.name for attempt in verdict.books.open.values()],
        "violations": [asdict(violation) for violation in verdict.violations],
    }


def _print_balance(found: Balance) -> None:
    typer.echo(f"ledger {found.namespace}")
    accounts = table("ACCOUNT", "CEILING", "SPENT", "HELD", "ROOM", "")
    for line in found.accounts:
        amounts = (line.ceiling, line.spent, line.held, line.room)
        accounts.add_row(line.account, *map(to_amount, amounts), line.currency)
    console().print(accounts)
    trials = table("STUDY", "TRIAL", "ATTEMPTS", "OPEN", "SECONDS", "SPENT", "HELD")
    for trial in found.trials:
        numbers = (trial.trial, trial.attempts, trial.open, trial.seconds)
        trials.add_row(trial.name, *map(str, numbers), to_amount(trial.spent), to_amount(trial.held))
    if found.trials:
        console().print(trials)
    _print_records(found)
    if found.movements:
        moves = table("BATCH", "TIME", "ENTRY", "ACCOUNT", "CEILING", "SPENT", "HELD")
        for move in found.movements:
            sums = map(to_amount, (move.ceiling, move.spent, move.held))
            moves.add_row(str(move.sequence), _time(move.time), move.entry, move.account, *sums)
        console().print(moves)
    if found.overruns:
        typer.echo(f"{_count(found.overruns, 'overrun', 'overruns')}: run `ledger verify`")


def _print_records(found: Balance) -> None:
    """Print the records of the journal that move no money: manifests and approvals."""
    if found.manifests:
        manifests = table("BATCH", "TIME", "MANIFEST", "GENERATION", "SPEC", "SPACE", "CRITERIA")
        for manifest in found.manifests:
            name = f"{manifest.study}/{manifest.revision}"
            hashes = (digest[:_SHORT] for digest in (manifest.spec, manifest.space, manifest.criteria))
            manifests.add_row(
                str(manifest.sequence), _time(manifest.time), name, str(manifest.generation), *hashes
            )
        console().print(manifests)
    if found.approvals:
        approvals = table("BATCH", "TIME", "APPROVAL", "UP TO", "APPROVER")
        for one in found.approvals:
            name, amount = f"{one.study}/{one.number}", to_amount(one.amount)
            approvals.add_row(str(one.sequence), _time(one.time), name, amount, one.approver or "-")
        console().print(approvals)


def _balance(found: Balance) -> dict[str, Any]:
    """Return a balance for JSON, with money as decimal strings."""
    return {
        "namespace": found.namespace,
        "overruns": found.overruns,
        "accounts": [_amounts(asdict(line) | {"room": line.room}) for line in found.accounts],
        "trials": [_amounts(asdict(line)) for line in found.trials],
        "manifests": [asdict(line) for line in found.manifests],
        "approvals": [_amounts(asdict(line)) for line in found.approvals],
        "movements": [_amounts(asdict(line)) for line in found.movements],
    }


_MONEY = frozenset({"requested", "ceiling", "spent", "held", "room", "amount"})


def _amounts(line: dict[str, Any]) -> dict[str, Any]:
    return {name: to_amount(value) if name in _MONEY else value for name, value in line.items()}


def _time(unix: int) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%Y-%m-%d %H:%M:%S}"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


class _Printable(Table):
    """A table whose cells print no escape sequences, since others may have written the cells."""

    def add_row(self, *cells: Any, **options: Any) -> None:
        super().add_row(*(printable(cell) if isinstance(cell, str) else cell for cell in cells), **options)


def table(*heads: str) -> Table:
    """Return an empty table for people, without lines around it."""
    shown = _Printable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for head in heads:
        shown.add_column(head, justify="right" if head in _NUMBERS else "left", overflow="fold")
    return shown
