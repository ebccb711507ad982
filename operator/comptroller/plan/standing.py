"""A study's standing before this pass has decided anything on its trials."""

from comptroller.plan import baseline, trouble
from comptroller.plan.conclusion import too_many_failed
from comptroller.plan.membership import covering
from comptroller.plan.steps import Steps
from comptroller.plan.verdict import NO_TRIAL_SUCCEEDED, Verdict, declared, reopened, settled_verdict
from comptroller.plan.view import StudyView
from comptroller.pricing import Quote, Unpriced
from comptroller.world import Refused


def standing(view: StudyView, quote: Quote | Unpriced) -> Verdict:
    """Return the verdict that stands, or a new one where an ended study may go on under its changed spec."""
    settled = settled_verdict(view.study)
    if settled is not None and not reopened(view.study):
        return settled
    now = _now(view, quote)
    changed = settled is None or now.state in {"Active", "Held"} or now.reason == "Deleted"
    return now if changed or settled is None else settled


def failing(view: StudyView, steps: Steps, verdict: Verdict) -> Verdict | None:
    """Return the end of a study whose trials fail, all of them for one reason or too many; else `None`."""
    if verdict.final or verdict.reason == "Deleted":
        return None
    if (fault := baseline.shared_fault(view.study, view.progress, steps)) is not None:
        return Verdict("Ending", NO_TRIAL_SUCCEEDED, fault)
    return too_many_failed(view.study, steps)


def with_overruns(view: StudyView, verdict: Verdict, overhead: int) -> Verdict:
    """Return a verdict with what runs on after its lease, and what is done about that.

    Args:
        view: the study.
        verdict: where it stands otherwise.
        overhead: seconds that a pod may outlive its lease.
    """
    now = view.world.now
    seen = [(attempt, run) for attempt in view.open if (run := view.run_of(attempt)) is not None]
    found = [
        trouble.overrun(attempt, run, end)
        for attempt, run in seen
        if (end := trouble.overdue(attempt, run, overhead, now)) is not None
    ]
    if not found or verdict.final:
        return verdict
    if verdict.state == "Active":
        return Verdict("Active", "LeaseOverrun", "; ".join(found))
    return Verdict(verdict.state, verdict.reason, "; ".join([verdict.message, *found]))


def _now(view: StudyView, quote: Quote | Unpriced) -> Verdict:
    """Return where the study stands by what is declared and seen now."""
    found = declared(view.world, view.study, quote, covering(view.world, view.study))
    if found.state == "Active":
        found = _active(view)
    if view.unread and found.reason != "Deleted":
        return _unreadable(view.unread[0])
    return found


def _active(view: StudyView) -> Verdict:
    """Return where a study stands that nothing declared keeps from running."""
    world, progress = view.world, view.progress
    if (away := world.unreachable.get(view.uid)) is not None:
        return Verdict("Held", away.reason, away.message)
    unread = next((p for p in progress if p.unread and p.outcome is None), None)
    if unread is not None:
        where = view.study.spec.artifacts.uri
        message = f"the report of trial {unread.number} cannot be read from {where}"
        return Verdict("Held", "ArtifactsUnavailable", message)
    pause = trouble.trouble(progress, world.runs, world.now)
    if pause is not None and world.now < pause.until:
        return Verdict("Held", pause.reason, pause.message)
    reason, message = trouble.waiting(progress, world.runs) or ("Running", "trials are running")
    return Verdict("Active", reason, message, probing=pause is not None)


def _unreadable(refused: Refused) -> Verdict:
    """Let what runs use up its lease; nothing is built on a trial that cannot be read."""
    reason = "WrittenByNewerRelease" if refused.newer else "TrialRefused"
    return Verdict("Held", reason, f"Trial {refused.name} cannot be read: {refused.why}")
