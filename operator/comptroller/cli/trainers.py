"""The trainer that a study is held to before a pod is paid for."""

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
        help="What the studies' image can be told, as `comptroller-trainer parameters --json` prints it"
        f" there; {UNCHECKED}: parameters are not checked. Else the project's own trainer is assumed.",
    ),
]


class Said(NamedTuple):
    """What a trainer says of an object."""

    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()


def described(trainer: str | None) -> Trainer | None:
    """The description that `--trainer` names; None: there is none to go by.

    Raises:
        BadParameter: the file cannot be read, or is no description.
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


def said(one: Object | None, trainer: Trainer | None, *, assumed: bool) -> Said:
    """What the trainer says of an object, which is something only of studies.

    Args:
        one: as it was admitted.
        trainer: None: there is nothing to go by.
        assumed: nobody said that it is this trainer; a study with an image of its own may then run another,
            and what would be refused is told in a note.
    """
    if not isinstance(one, Study) or trainer is None:
        return Said()
    found = findings(one, trainer)
    if not assumed or one.spec.runtime.image is None:
        return Said(tuple(found))
    return Said(notes=tuple(f"{r}; the project's own trainer would refuse it" for r in found))


def own(study: Study) -> tuple[Refusal, ...]:
    """What the trainer that is installed beside this command would refuse.

    It may have stages that we do not: where ours would refuse, it is asked, which takes seconds.
    """
    return tuple(findings(study, _installed())) if findings(study, reference()) else ()


@cache
def _installed() -> Trainer:
    asked = subprocess.run(  # noqa: S603  # our own interpreter
        [*TRAINER, "parameters", "--json"], check=True, stdout=subprocess.PIPE
    )
    return Trainer.model_validate_json(asked.stdout)
