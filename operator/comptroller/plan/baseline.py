"""The baseline goes first and alone, so that a fault that every trial shares is paid for once."""

from collections.abc import Collection, Mapping, Sequence

from comptroller.plan.trials import LACKS, Progress, Step
from comptroller.search.problem import BASELINE
from comptroller_api.study import Study


def proven(everything: Sequence[Progress], gone: Collection[int]) -> bool:
    """Return whether some trial has been through every stage, so that others may run in parallel.

    A study that has trials of an operator that knew no such rule, or whose baseline was deleted, is proven by
    any result as well.
    """
    return BASELINE in gone or any(p.rungs or p.near_miss for p in everything)


def shared_fault(study: Study, everything: Sequence[Progress], steps: Mapping[int, Step]) -> str | None:
    """Return why the baseline failed, where every other trial would fail for the same reason; else `None`.

    The trainer names the field at fault. Where that is not a parameter that the space searches, no other
    configuration mends it. A baseline whose report lacks an objective leaves nothing to compare with.
    """
    for p in everything:
        step = steps[p.number]
        if p.number != BASELINE or not p.attempts or step.outcome not in {"Failed", "MetricsLost"}:
            continue
        lacks = step.outcome == "MetricsLost" and step.reason.startswith(LACKS)
        refused = step.outcome == "Failed" and p.attempts[-1].end == "BadAssignment"
        if lacks or (refused and not _is_searched(study, step.reason)):
            return (
                f"trial {p.number}, the baseline, failed for a reason that every trial shares: {step.reason}"
            )
    return None


def _is_searched(study: Study, reason: str) -> bool:
    field = reason.split(":", 1)[0].strip()
    return any(parameter.name == field for parameter in study.spec.space.parameters)
