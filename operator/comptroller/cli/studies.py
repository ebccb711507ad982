"""`status`, `trials`, `front`, `watch`, `stop`, `resume` and `approve`: the commands on a study."""

import functools
import inspect
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live

from comptroller.cli import tables
from comptroller.cli.console import DONE, REFUSED, Form, Output, console, print_json, refuse
from comptroller.cli.ended import ended
from comptroller.cli.sources import Source, SourceError, open_source

Namespace = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Its namespace; else the context's own, or default."),
]
Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="The directory of a `comptroller run`, in place of a cluster.", exists=True),
]
Context = Annotated[str | None, typer.Option("--context", help="The kubeconfig context.")]


def _place(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")],
    namespace: Namespace = None,
    directory: Directory = None,
    context: Context = None,
) -> tuple[Source, str]:
    """Return the source and the name of a study; its parameters are those that all these commands share."""
    return open_source(namespace, directory, context), study


def _of_study(command: Callable[..., None]) -> Callable[..., None]:
    """Make a command of a function of a source and a study's name; a `SourceError` ends it with exit 1."""
    place = inspect.signature(_place).parameters
    own = [*inspect.signature(command).parameters.values()][2:]

    @functools.wraps(command)
    def run(**words: Any) -> None:
        where = {name: words.pop(name) for name in place}
        try:
            source, study = _place(**where)
            command(source, study, **words)
        except SourceError as error:
            refuse(str(error))

    # Typer reads the options from the signature.
    run.__signature__ = inspect.Signature([*place.values(), *own])  # type: ignore[attr-defined]
    return run


@_of_study
def status(source: Source, study: str, output: Output = Form.TABLE) -> None:
    """Print the state of a study: its trials by state, what is spent and held, its best trial.

    Exit 1 when it has Failed.
    """
    found = source.study(study)
    if output is Form.JSON:
        print_json(found.to_json())
    else:
        console().print(tables.summary(found))
    if tables.standing(found)[0] == "Failed":
        raise typer.Exit(REFUSED)


@_of_study
def trials(source: Source, study: str, output: Output = Form.TABLE) -> None:
    """Print a study's trials: state, the latest metrics, spend and parameters."""
    found = source.study(study)
    every = source.trials(found)
    if output is Form.JSON:
        print_json([trial.to_json() for trial in every])
        return
    out = console()
    out.print(tables.trials_table(found, every))
    for line in tables.reasons(every):
        out.print(line)


@_of_study
def front(source: Source, study: str, output: Output = Form.TABLE) -> None:
    """Print the Pareto front: the trials that no other beats in every objective, and their artifacts."""
    found = source.study(study)
    entries = found.status.front if found.status else []
    if output is Form.JSON:
        print_json([entry.to_json() for entry in entries])
    elif entries:
        console().print(tables.front_table(found))
    else:
        typer.echo("no trial has succeeded within the ceilings yet")


@_of_study
def watch(
    source: Source,
    study: str,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 2.0,
    output: Output = Form.TABLE,
) -> None:
    """Watch a study until it is over: exit 0 when it is Complete, 1 when it has Failed.

    With -o json, one line for each change of its status.
    """
    look = _watch_json if output is Form.JSON else _watch
    raise typer.Exit(DONE if look(source, study, interval) == "Complete" else REFUSED)


_OVER = {"Complete", "Failed"}


def _watch(source: Source, name: str, interval: float) -> str:
    with Live(console=console(), auto_refresh=False) as live:
        while True:
            found = source.study(name)
            live.update(tables.whole(found, source.trials(found)), refresh=True)
            word = tables.standing(found)[0]
            if word in _OVER:
                return word
            time.sleep(interval)


def _watch_json(source: Source, name: str, interval: float) -> str:
    printed = ""
    while True:
        found = source.study(name)
        line = json.dumps(found.status.to_json() if found.status else {})
        if line != printed:
            typer.echo(line)
            printed = line
        word = tables.standing(found)[0]
        if word in _OVER:
            return word
        time.sleep(interval)


@_of_study
def stop(source: Source, study: str) -> None:
    """Suspend a study: its trials write checkpoints and end, and nothing more is spent. See `resume`.

    A study that has ended, or is being deleted, stays as it is.
    """
    found = source.study(study)
    if why := ended(found):
        typer.echo(f"study {study} {why}: there is nothing to suspend")
    elif found.spec.suspend:
        typer.echo(f"study {study} was suspended before; its trials write checkpoints and end, or have ended")
    else:
        source.suspend(study, suspended=True)
        typer.echo(f"study {study} is being suspended; its trials write checkpoints and end")


@_of_study
def resume(source: Source, study: str) -> None:
    """Resume a suspended study from its trials' checkpoints.

    Exit 1 when it has ended or is being deleted.
    """
    found = source.study(study)
    if why := ended(found):
        refuse(f"study {study} {why} and cannot be resumed")
    if found.spec.suspend:
        source.suspend(study, suspended=False)
        typer.echo(f"study {study} is resumed{source.resumed_by}")
    else:
        typer.echo(f"study {study} is not suspended{source.resumed_by}")


@_of_study
def approve(source: Source, study: str) -> None:
    """Approve a study's ceiling, which a budget asks for above an amount; needs the verb `approve`.

    Exit 1 when the study has ended or is being deleted.
    """
    found = source.study(study)
    if why := ended(found):
        refuse(f"study {study} {why}: there is nothing to approve")
    spend = found.spec.ceilings.spend
    source.approve(study, spend.amount)
    typer.echo(f"study {study} may spend up to {spend.amount} {spend.currency}")
