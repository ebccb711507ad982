"""The check which of the Jobs under an attempt's name is ours.

Names can be predicted, and all who may create Jobs can copy labels, owner references and annotations.
Nobody else can have a Job with the uid that the books recorded when its first pod reached a node. Before
that, a Job is ours if our Trial owns it, or its template states the attempt, and it requests no more than is
paid for: another one costs nobody more than ours would.
"""

from dataclasses import dataclass, replace

from comptroller.ledger.books import Attempt
from comptroller.ledger.names import AttemptKey, TrialKey
from comptroller.world import Run, World

_SKEW = 5
"""Seconds by which the clocks of a node and of the API server may differ."""


def identified(world: World) -> World:
    """Return the world with only our own runs in it, and the names that others have taken."""
    trials = (trial for own in world.trials.values() for trial in own)
    judge = _Judge(world, {(one.spec.study_uid, one.spec.number): one.metadata.uid for one in trials})
    runs: dict[AttemptKey, Run] = {}
    taken: dict[AttemptKey, str] = {}
    for key, first in world.runs.items():
        ours = [run for run in (first, *first.rivals) if not judge.foreign(run)]
        if ours:
            # Of several, one that runs: what is left of an attempt matters more than who has its name.
            runs[key] = next((run for run in ours if run.live), ours[0])
        else:
            taken[key] = judge.foreign(first)
    return replace(world, runs=runs, taken=taken)


@dataclass(frozen=True, slots=True)
class _Judge:
    world: World
    trials: dict[TrialKey, str]

    def foreign(self, run: Run) -> str:
        """Return why a run is not ours; empty where it is."""
        if run.uid is None or run.tombstone:
            return ""
        attempt = self._attempt(run.key)
        if attempt is not None and attempt.job:
            return "" if attempt.job == run.uid else f"Job {run.name} is not the one that was launched"
        if attempt is not None and (why := self._untimely(attempt, run)):
            return why
        trial = self.trials.get(run.key.of_trial)
        # One that a trial owns which is gone may be ours, even if another trial has its number now. It is
        # billed as ours would be, and the garbage collector deletes it.
        owned = run.jobless or run.stated or (trial is not None and run.trial == trial)
        if not owned and (run.trial is None or run.trial in self.trials.values()):
            return f"Job {run.name} is not owned by its trial"
        beyond = _beyond(attempt, run) if attempt is not None else ""
        return f"Job {run.name} {beyond}" if beyond else ""

    def _untimely(self, attempt: Attempt, run: Run) -> str:
        """Return why a run cannot be of the time of its attempt, whose books know no Job."""
        if not run.jobless:
            # One that a trial owns, which may be gone, may be a launch of ours that came late: it is stopped
            # and billed.
            late = attempt.started and run.created is not None and run.created > attempt.ended + _SKEW
            late = late and run.trial is None
            return f"Job {run.name} was created after its attempt had ended" if late else ""
        if not attempt.open and not attempt.started:
            return f"nothing of {run.name} had reached a node when its books were closed"
        if run.scheduled is None:
            return ""
        if not attempt.open and run.scheduled > attempt.ended + _SKEW:
            return f"{run.name} came to a node after its books were closed"
        key = run.key
        before = self._attempt(key._replace(attempt=key.attempt - 1)) if key.attempt else None
        # An attempt is leased once the one before it has ended.
        if before is not None and run.scheduled + _SKEW < before.ended:
            return f"{run.name} was on a node before its attempt was leased"
        return ""

    def _attempt(self, key: AttemptKey) -> Attempt | None:
        attempts = self.world.books.attempts(key.study, key.trial)
        return attempts[key.attempt] if key.attempt < len(attempts) else None


def _beyond(attempt: Attempt, run: Run) -> str:
    """Return how a Job's pods, in what nobody can edit, are not those of an attempt; empty where they are.

    The number of pods that train together can be raised: such a Job may be ours, and is stopped.
    """
    if not run.jobless and run.indexed != (attempt.resources.pods > 1):
        return "numbers its pods" if run.indexed else "does not number its pods"
    if not run.jobless and not run.indexed and run.pods > 1:
        return f"runs {run.pods} pods"
    demands = [run.template] if run.template is not None else run.requested if run.jobless else ()
    beyond = next((found for one in demands if (found := one.beyond(attempt.resources))), "")
    return f"requests more than its attempt: {beyond}" if beyond else ""
