"""The command line, also as `kubectl comptroller`. Exit 0: done, 1: refused or violated, 2: misused."""

from importlib.metadata import version
from typing import Annotated

import typer

from comptroller.cli import ledger, lint, plan, reconcile, reproduce, run, simulate, studies

app = typer.Typer(
    name="comptroller",
    help="Spends a training budget well and never overspends it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # our texts are plain: markup would drop text in square brackets
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"comptroller {version('comptroller')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del show_version


@app.command()
def operator() -> None:
    """Run the operator, with the settings of its environment (COMPTROLLER_*)."""
    from comptroller import handlers  # noqa: PLC0415  (Kopf and a Kubernetes client, which no other command needs)

    handlers.main()


for _command in (
    lint.lint,
    plan.plan,
    run.run,
    simulate.simulate,
    studies.status,
    studies.trials,
    studies.front,
    studies.watch,
    studies.stop,
    studies.resume,
    studies.approve,
    reproduce.reproduce,
):
    app.command()(_command)
ledger.app.command()(reconcile.reconcile)
app.add_typer(ledger.app)


def main() -> None:
    """The console script."""
    app()
