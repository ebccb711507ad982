"""Studies that have ended: as long as nothing of one changes, nothing is looked at again.

Ended studies stay in a namespace for as long as people like, so passes must not cost what there ever was.
What a pass over one depends on is the study itself, its trials, its runs and the books; not the clock, since
its verdict is final, and not prices or budgets, since nothing is launched.
"""

from collections.abc import Sequence
from operator import is_
from typing import TypeAlias

from comptroller.plan.verdict import reopened
from comptroller.status import is_final
from comptroller.world import Run, World
from comptroller_api.study import Study

Still: TypeAlias = tuple[object, ...]
"""All that a pass over an ended study depends on. Objects, which are replaced and never changed."""


def ended(world: World, study: Study, runs: Sequence[Run]) -> Still | None:
    """Return what a pass over `study` depends on; `None` where it has not ended, or not with all its trials.

    Args:
        world: the namespace.
        study: one of its studies.
        runs: the study's, in an order of their own.
    """
    if not is_final(study) or reopened(study) or study.metadata.deletion_timestamp or world.refused:
        return None
    uid = study.metadata.uid
    trials = world.trials.get(uid, ())
    if any(trial.status is None or trial.status.outcome is None for trial in trials):
        return None
    if any(world.books.open_attempts(uid)) or not all(run.ended is not None and run.released for run in runs):
        return None
    return (study, world.books.version, *trials, *runs)


def same(one: Still | None, other: Still) -> bool:
    """Return whether nothing has changed."""
    return one is not None and len(one) == len(other) and all(map(is_, one, other))
