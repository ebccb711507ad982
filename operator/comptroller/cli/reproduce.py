"""`comptroller reproduce`: run a finished trial again from its report and artifacts, and compare."""

import importlib.util
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli.console import REFUSED, Form, Output, console, print_json, refuse
from comptroller.cli.ledger import table
from comptroller.cli.reproduced import Line, compare, differing
from comptroller.cli.run import Trainer
from comptroller.cli.sources import SourceError, open_source
from comptroller.cli.studies import Context, Directory, Namespace

_WORDS = {(True, True): "yes", (True, False): "NO", (False, True): "yes", (False, False): "differs"}
"""The word for a line, by whether the line is judged and whether it is the same."""


def reproduce(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="The Trial object's name.")],
    namespace: Namespace = None,
    directory: Directory = None,
    context: Context = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", metavar="URI", help="The data, if they are elsewhere now: s3://… or file:///…"
        ),
    ] = None,
    trainer: Trainer = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep", metavar="DIR", help="Leave the new run in DIR, empty so far.", file_okay=False
        ),
    ] = None,
    output: Output = Form.TABLE,
) -> None:
    """Run a finished trial again on this machine, from its report and artifacts, and compare.

    The assignment and the artifacts are read from the URIs in the trial's last report, and must have the
    SHA-256 there. A trial of several rungs is run in one go to the last rung that it finished.
    Metrics that are not timed, the model, the samples trained on and the data must be the same, bit for bit;
    timed metrics and the environment are shown. The run takes as many threads as the trial had. On a GPU,
    bits may differ.

    Exit 0: the same. Exit 1: it differs, or it could not be run again.
    """
    from comptroller.cli import again, session  # noqa: PLC0415  (two seconds of imports)
    from comptroller.cluster.local import TRAINER  # noqa: PLC0415

    if trainer is None and importlib.util.find_spec(TRAINER[-1]) is None:
        refuse(f"{TRAINER[-1]} is not installed next to this command; install it, or give --trainer")
    out = console(stderr=output is Form.JSON)
    try:
        found = open_source(namespace, directory, context).trial(trial)
        then = again.left(again.last_report(found))
        given = again.assignment(found, then.report)
        with _place(keep) as place:
            session.check_directory(place)
            work = again.elsewhere(given, f"reproduce-{trial}", place, data)
            out.print(f"running trial {trial} again, {work.epochs} epochs; its log: {place / 'log'}")
            now = again.run(
                work, then.report.environment, shlex.split(trainer) if trainer else TRAINER, place
            )
    except (SourceError, session.RunError, again.AgainError) as error:
        refuse(str(error))
    lines = compare(then, now)
    apart = differing(lines)
    if output is Form.JSON:
        print_json({"trial": trial, "same": not apart, "lines": [asdict(line) for line in lines]})
    else:
        _print(lines)
    out.print(_sentence(lines, apart))
    if apart:
        raise typer.Exit(REFUSED)


@contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    """Yield an empty directory, since files of another run would be resumed from."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="comptroller-") as directory:
            yield Path(directory)
        return
    keep = keep.absolute()
    keep.mkdir(parents=True, exist_ok=True)
    if any(keep.iterdir()):
        refuse(f"--keep {keep}: it is not empty")
    yield keep


def _print(lines: list[Line]) -> None:
    shown = table("NAME", "THEN", "NOW", "SAME")
    for line in lines:
        word = "" if line.kind == "timed" else _WORDS[line.judged, line.same]
        shown.add_row(line.name, line.then, line.now, word)
    console().print(shown)


def _sentence(lines: list[Line], apart: list[str]) -> str:
    judged = [line for line in lines if line.judged]
    if not apart:
        return f"the same, bit for bit: {len(judged)} of {len(judged)} metrics and artifacts"
    other = [line.name for line in lines if line.kind == "environment" and not line.same]
    explained = f"; so does the environment: {', '.join(other)}" if other else "; the environment is the same"
    return f"{len(apart)} of {len(judged)} metrics and artifacts differ: {', '.join(apart)}{explained}"
