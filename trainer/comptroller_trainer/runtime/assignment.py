"""The assignment: one attempt's work, read from the environment and validated before anything slow starts."""

import json
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from comptroller_api.contract import ASSIGNMENT_ENV, Assignment
from comptroller_api.trainer import phrase
from comptroller_trainer.errors import AssignmentError


def read(environ: Mapping[str, str]) -> Assignment:
    """Return the assignment in `environ`.

    Raises:
        AssignmentError: it is absent, not JSON, or breaks a rule of `contract.Assignment`.
    """
    text = environ.get(ASSIGNMENT_ENV)
    if not text:
        raise AssignmentError(ASSIGNMENT_ENV, None, "is not set")
    try:
        given = json.loads(text)
    except ValueError as error:
        raise AssignmentError(ASSIGNMENT_ENV, text[:80], f"is not JSON: {error}") from error
    try:
        assignment = Assignment.model_validate(given)
    except ValidationError as error:
        raise explain(error) from error
    if assignment.epochs > assignment.total_epochs:
        raise AssignmentError(
            "epochs", assignment.epochs, f"must not be more than totalEpochs ({assignment.total_epochs})"
        )
    if not assignment.artifacts.startswith(("s3://", "file:///")):
        raise AssignmentError("artifacts", assignment.artifacts, "must start with s3:// or file:///")
    return assignment


def explain(error: ValidationError, prefix: str = "") -> AssignmentError:
    """Return the first broken rule of `error` in our own words, and the number of others."""
    first, *others = error.errors(include_url=False, include_context=False)
    field = prefix + ".".join(str(part) for part in first["loc"])
    rule = phrase(first["msg"])
    if first["type"] == "missing":
        return AssignmentError(field or ASSIGNMENT_ENV, None, "is required" + _more(others))
    value = first["input"]
    shown = value if isinstance(value, str | int | float | bool) else json.dumps(value, default=str)[:80]
    return AssignmentError(field or ASSIGNMENT_ENV, shown, rule + _more(others))


def _more(others: Sequence[object]) -> str:
    return f" (and {len(others)} more)" if others else ""
