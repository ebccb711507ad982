"""Helpers that all commands share: consoles, output forms and refusals."""

import json
import sys
from enum import StrEnum
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from comptroller_api.text import plain

DONE, REFUSED, USAGE = 0, 1, 2
"""Exit codes: done; refused or violated; called wrongly (typer's own)."""

_LONGEST_LINE = 8192
"""Characters shown of a line that others wrote and that is not printable as it is."""
_PIPED_WIDTH = 200
"""Columns if the terminal reports no width: a table in a file is not cut to 80."""


class Form(StrEnum):
    """The form in which a result is printed."""

    TABLE = "table"
    JSON = "json"


Output = Annotated[Form, typer.Option("--output", "-o", help="A table for people, or JSON for programs.")]


def console(*, stderr: bool = False) -> Console:
    """Return a console on the current `sys.stdout` or `sys.stderr`."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        width=None if stream.isatty() else _PIPED_WIDTH,
        highlight=False,
        emoji=False,
        markup=False,
    )


def print_json(value: Any) -> None:
    """Print JSON, indented, and nothing else."""
    typer.echo(json.dumps(value, indent=2))


def printable(text: str) -> str:
    """Return `text` with its lines, and without what would steer a terminal; others may have written it."""
    return "\n".join(line if line.isprintable() else plain(line, _LONGEST_LINE) for line in text.split("\n"))


def refuse(message: str) -> NoReturn:
    """Print the reason and exit 1."""
    typer.echo(f"error: {printable(message)}", err=True)
    raise typer.Exit(REFUSED)
