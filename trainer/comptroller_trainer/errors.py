"""Errors that end an attempt, by the exit code of each."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comptroller_api.contract import Report


class AssignmentError(Exception):
    """The assignment is wrong; trying again cannot help (exit 64).

    Args:
        field: the assignment's field or the parameter, by its full name.
        value: the given value.
        rule: the broken rule, as a phrase that follows the value.
    """

    def __init__(self, field: str, value: object, rule: str) -> None:
        self.field, self.value, self.rule = field, value, rule
        super().__init__(f"{field}: {value!r} {rule}" if value is not None else f"{field}: {rule}")


class DivergedError(AssignmentError):
    """The loss is not finite; another attempt would repeat the same steps from the same seed (exit 65)."""


class NoGainError(AssignmentError):
    """The compressed artifact is measured to be no better than its parent (exit 66).

    Attributes:
        metrics: of the artifact and its parent, so that what was paid for is reported.
        report: with these metrics, once the trial has made it.
    """

    metrics: "Mapping[str, float] | None" = None
    report: "Report | None" = None


class Suspended(BaseException):
    """SIGTERM was honoured (exit 75).

    This is not an `Exception`, since libraries swallow those: an exporter would try its next strategy.
    """


class ObjectStoreError(Exception):
    """Object storage refused or did not answer, after the client's own retries."""


class UnavailableError(ObjectStoreError):
    """Object storage did not answer, or refused the credentials: no attempt could do better now (exit 69)."""


class MissingError(ObjectStoreError):
    """The object does not exist."""


def out_of_memory(error: BaseException) -> bool:
    """Return true if an allocation failed; torch is not imported for this check."""
    names = {kind.__name__ for kind in type(error).__mro__}
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or "OutOfMemoryError" in names
        or "can't allocate memory" in text
        or "cannot allocate memory" in text
        or "cuda out of memory" in text
    )
