"""`comptroller run`: a whole study on this machine, without a cluster."""

import asyncio
import importlib.util
import shlex
from pathlib import Path
from typing import Annotated

import typer

from comptroller.cli.console import DONE, REFUSED, Form, Output, console, print_json, refuse

Files = Annotated[
    list[Path],
    typer.Argument(
        metavar="FILE...", help="Manifests: Study, PriceList, Budget.", exists=True, dir_okay=False
    ),
]
Directory = Annotated[
    Path, typer.Option("--dir", metavar="DIR", help="Where everything of this run is kept.", file_okay=False)
]
Prices = Annotated[
    Path | None,
    typer.Option(
        "--prices", metavar="FILE", help="More manifests, with prices.", exists=True, dir_okay=False
    ),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="URI", help="The data, in place of spec.data.uri: s3://… or file:///…"),
]
Trainer = Annotated[
    str | None,
    typer.Option("--trainer", metavar="COMMAND", help="A trainer that keeps the contract; else our own."),
]


def run(
    files: Files,
    directory: Directory,
    prices: Prices = None,
    data: Data = None,
    trainer: Trainer = None,
    output: Output = Form.TABLE,
) -> None:
    """Run studies on this machine, under the same ceilings and the same ledger as on a cluster.

    DIR takes the place of the cluster and the bucket: objects in DIR/objects, attempts and their logs in
    DIR/runs, models, checkpoints and reports in DIR/artifacts whatever spec.artifacts.uri says, and the
    ledger in DIR/ledger. Data are read from spec.data.uri, or from --data. spec.runtime.image is not used.

    Run the same command again to continue, also after a crash. Ctrl-C suspends: trials write
    checkpoints first.

    Exit 0: every study is Complete. Exit 1: refused, failed, held (no price, a budget with no room) or
    suspended.
    """
    from comptroller.cli import session, tables  # noqa: PLC0415  (two seconds of imports)
    from comptroller.cli.logs import log_to  # noqa: PLC0415
    from comptroller.cli.progress import Progress  # noqa: PLC0415
    from comptroller.cli.trainers import own  # noqa: PLC0415
    from comptroller.cluster.local import TRAINER, Local  # noqa: PLC0415

    if trainer is None and importlib.util.find_spec(TRAINER[-1]) is None:
        refuse(f"{TRAINER[-1]} is not installed next to this command; install it, or give --trainer")
    directory = directory.absolute()
    out = console(stderr=output is Form.JSON)
    tell = out.print
    try:
        session.check_directory(directory)
        found = session.manifests([*files, *([prices] if prices else [])], data)
        with session.alone(directory), log_to(directory / "comptroller.log"):
            local = Local(directory, command=shlex.split(trainer) if trainer else TRAINER)
            if refused := session.apply(local, found, own if trainer is None else lambda _: ()):
                refuse("\n".join(refused))
            tell(f"attempts and their logs: {directory / 'runs'}")
            asyncio.run(session.Session(directory, local, Progress(tell), tell).run())
            names = local.objects.namespaces()
            ledger = {name: session.verify(directory, name) for name in names}
    except session.RunError as error:
        refuse(str(error))
    except KeyboardInterrupt:
        refuse("left; attempts that run end at their lease and write checkpoints")
    studies = [
        (study, local.objects.trials(name, study.metadata.uid))
        for name in names
        for study in local.objects.studies(name)
    ]
    if output is Form.JSON:
        print_json(
            [
                {
                    "study": s.to_json(),
                    "trials": [t.to_json() for t in ts],
                    "ledger": ledger[s.metadata.namespace],
                }
                for s, ts in studies
            ]
        )
    for study, trials in studies if output is Form.TABLE else ():
        out.print()
        out.print(tables.whole(study, trials))
    for name, verdict in ledger.items() if output is Form.TABLE else ():
        out.print(f"\nledger of {name}: {verdict}")
    complete = all(tables.standing(study)[0] == "Complete" for study, _ in studies)
    raise typer.Exit(DONE if complete else REFUSED)
