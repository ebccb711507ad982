"""The names of trials and attempts: functions of their place (P4).

The names contain the study's uid. A study that is deleted and applied again is another one, and remains of
the first must not take the names of the second; the study's own name is in them for people.
"""

from typing import NamedTuple, TypeAlias

_UID = 8
"""Characters of a uid; as random as the whole, for studies of one name."""

TrialKey: TypeAlias = tuple[str, int]
"""A study's uid and a trial's number."""


class AttemptKey(NamedTuple):
    """An attempt by its place: it compares and hashes as the tuple of its fields does."""

    study: str
    """The study's uid."""
    trial: int
    attempt: int

    @property
    def of_trial(self) -> TrialKey:
        """Return the key of the attempt's trial."""
        return self.study, self.trial


def unique_name(study: str, uid: str) -> str:
    """Return the name of everything of a study, which no other study of its name shares."""
    return f"{study}-{uid[:_UID]}"


def trial_name(study: str, uid: str, trial: int) -> str:
    """The name of a `Trial`."""
    return f"{unique_name(study, uid)}-{trial:04d}"


def attempt_name(study: str, uid: str, trial: int, attempt: int) -> str:
    """The name of an attempt and of its Job."""
    return f"{trial_name(study, uid, trial)}-{attempt}"


def study_name(attempt: str, uid: str, trial: int, number: int) -> str:
    """The study's name in the name of an attempt, which is otherwise known by its place."""
    return attempt.removesuffix(attempt_name("", uid, trial, number))
