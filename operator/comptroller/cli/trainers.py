"""Check studies against a trainer's description before a pod is paid for."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from pydantic import ValidationError

from comptroller.admission import Refusal, findings
from comptroller.cluster.local import TRAINER
from comptroller_api.crd import Object
from comptroller_api.study import Study
from comptroller_api.trainer import Trainer, reference

UNCHECKED = "none"
Described = Annotated[
    str | None,
    typer.Option(
        "--trainer",
        metavar="FILE",
        help="The parameters of the studies' image, as its `comptroller-trainer parameters --json` prints"
        f" them; {UNCHECKED}: parameters are not checked. Else the project's own trainer is assumed.",
    ),
]


class Assessment(NamedTuple):
    """The refusals and notes of a trainer on an object."""

    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()


def described(trainer: str | None) -> Trainer | None:
    """Return the description that `--trainer` names; None: parameters are not checked.

    Raises:
        BadParameter: the file cannot be read, or is not a description.
    """
    if trainer is None:
        return reference()
    if trainer == UNCHECKED:
        return None
    try:
        return Trainer.model_validate_json(Path(trainer).read_bytes())
    except OSError as error:
        raise typer.BadParameter(f"--trainer {trainer}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise typer.BadParameter(f"--trainer {trainer}: {where}: {first['msg']}") from error


def assess(one: Object | None, trainer: Trainer | None, *, assumed: bool) -> Assessment:
    """Return what the trainer would refuse of an object; only studies have parameters to refuse.

    Args:
        one: as it was admitted.
        trainer: None: parameters are not checked.
        assumed: no `--trainer` was given; a study with its own image may run another trainer, so each
            refusal becomes a note.
    """
    if not isinstance(one, Study) or trainer is None:
        return Assessment()
    found = findings(one, trainer)
    if not assumed or one.spec.runtime.image is None:
        return Assessment(tuple(found))
    return Assessment(notes=tuple(f"{r}; the project's own trainer would refuse it" for r in found))


def own(study: Study) -> tuple[Refusal, ...]:
    """Return what the trainer that is installed next to this command would refuse.

    The installed trainer may have more stages than the reference: only where the reference refuses is the
    installed one run, which takes seconds.
    """
    return tuple(findings(study, _installed())) if findings(study, reference()) else ()


@cache
def _installed() -> Trainer:
    printed = subprocess.run(  # noqa: S603  # our own interpreter
        [*TRAINER, "parameters", "--json"], check=True, stdout=subprocess.PIPE
    )
    return Trainer.model_validate_json(printed.stdout)
