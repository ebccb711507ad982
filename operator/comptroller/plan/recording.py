"""The statuses of a study and its trials, where they differ from what is so."""

from collections.abc import Iterator
from dataclasses import replace

from comptroller.actions import Action, RecordStudy, RecordTrial, Unprotect
from comptroller.ledger.books import Attempt
from comptroller.plan import places, trials, trouble
from comptroller.plan.accounts import study_account
from comptroller.plan.leases import silent
from comptroller.plan.steps import Steps
from comptroller.plan.trials import Progress, Step
from comptroller.plan.verdict import Verdict
from comptroller.plan.view import StudyView
from comptroller.status import study_status
from comptroller.world import Run
from comptroller_api.meta import FINALIZER

_OF_ALL_TRIALS = ("trials", "progress", "best", "best_trial", "front")
"""Parts of a study's status that are folded from all of its trials."""


def record_trial(view: StudyView, p: Progress, step: Step) -> Iterator[RecordTrial]:
    """Yield the trial's new status, where it has one."""
    run = view.run_of(p.open) if p.open is not None else None
    why = _trouble(view, trouble.recalled(run, p.trial), p.open) if run else ""
    status = trials.trial_status(p, step.outcome, step.reason or why, view.world.now)
    if status != p.trial.status:
        yield RecordTrial(p.trial, status)


def record_study(view: StudyView, steps: Steps, verdict: Verdict) -> Iterator[Action]:
    """Yield the study's new status, where it has one; let go of a study that is deleted and settled."""
    study, books = view.study, view.world.books
    if study.metadata.deletion_timestamp:
        settled = not any(view.open) and not any(books.open_attempts(view.uid))
        if settled and FINALIZER in study.metadata.finalizers:
            yield Unprotect(study)
        return
    outcomes = {p.number: steps[p.number].outcome for p in view.progress}
    status = study_status(
        study,
        view.problem,
        [
            o if o.outcome == outcomes[o.number] else replace(o, outcome=outcomes[o.number])
            for o in view.observations
        ],
        [trials.trial_state(p, outcomes[p.number]) for p in view.progress],
        [p.trial for p in view.progress],
        books.accounts.get(study_account(study)),
        verdict,
        view.world.now,
    )
    if view.unread and (known := study.status) is not None:
        # A fold of the other trials alone would take an unread trial out of the counts and the front.
        status = status.model_copy(update={name: getattr(known, name) for name in _OF_ALL_TRIALS})
    if status != study.status:
        yield RecordStudy(study, status)


def _trouble(view: StudyView, run: Run, attempt: Attempt | None) -> str:
    """Return what keeps a run from its work, for a person; empty where nothing does."""
    if run.ended is None and silent(run) and view.study.spec.runtime.lease.renewal == "Renew":
        return "no heartbeat comes from it, so its lease is not renewed"
    return run.exit.message or (places.trouble(attempt) if attempt else "")
