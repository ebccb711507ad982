"""How a study ends: Complete only where at least one trial succeeded."""

from collections import Counter
from collections.abc import Mapping, Sequence

from comptroller.plan.trials import Progress, Step
from comptroller.plan.verdict import (
    BUDGET_EXHAUSTED,
    CEILING_REACHED,
    FAILURE_LIMIT_REACHED,
    NO_ROOM_FOR_A_LEASE,
    NO_TRIAL_SUCCEEDED,
    Verdict,
)
from comptroller_api.study import Study

Steps = Mapping[int, Step]

_MONEY = frozenset({CEILING_REACHED, BUDGET_EXHAUSTED})


def too_many_failed(study: Study, steps: Steps) -> Verdict | None:
    """Return the end at the failure limit; trials that fail in this very pass count."""
    failed, limit = sum(step.outcome == "Failed" for step in steps.values()), study.spec.search.failure_limit
    if failed < limit:
        return None
    return Verdict("Ending", FAILURE_LIMIT_REACHED, f"{failed} trials failed, the limit is {limit}")


def concluded(reason: str, message: str, everything: Sequence[Progress], steps: Steps) -> Verdict:
    """Return the final verdict of a study that stops for `reason`.

    Args:
        reason: why no more trials run; the condition's reason where a trial succeeded.
        message: the same as a sentence.
        everything: all trials.
        steps: their outcomes, those of this very pass included.
    """
    if reason == FAILURE_LIMIT_REACHED:
        return Verdict("Failed", reason, message)
    if any(step.outcome == "Succeeded" for step in steps.values()):
        return Verdict("Complete", reason, message)
    if not any(p.attempts for p in everything) and reason in _MONEY:
        return Verdict("Failed", NO_ROOM_FOR_A_LEASE, message)
    if reason == NO_TRIAL_SUCCEEDED:  # its message says why already
        return Verdict("Failed", reason, message)
    return Verdict("Failed", NO_TRIAL_SUCCEEDED, _counted(everything, steps, message))


def _counted(everything: Sequence[Progress], steps: Steps, message: str) -> str:
    """Say how the trials ended, why the first of them did, and the `message`, each once."""
    if not everything:
        return message
    counts = Counter(steps[p.number].outcome or "not ended" for p in everything)
    ends = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    told = f"none of {len(everything)} trials succeeded ({ends})"
    for p in sorted(everything, key=lambda p: p.number):
        if reason := steps[p.number].reason:
            said = f"{told}; trial {p.number}: {reason}"
            return said if message in reason else f"{said}; {message}"
    return f"{told}; {message}"
