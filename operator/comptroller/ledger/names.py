"""What trials and attempts are called, and so their objects: functions of their place (P4).

A study's uid is in them. A study that is deleted and applied again is another one, and what was left of the
first must not take the names of the second; the study's own name is in them for people.
"""

_UID = 8
"""Characters of a uid; as random as the whole, for studies of one name."""


def unique_name(study: str, uid: str) -> str:
    """What everything of a study is called, and of no other of its name."""
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
