"""Enforcement of a run's limits against edits by others: the plan restores them, or ends the attempt.

Tenants with Kubernetes' `edit` role may patch Jobs and pods. If no admission policy refuses that, the next
pass finds it here: nothing is believed because an object states it, and a limit is set again until it holds.
"""

from collections.abc import Iterator

from comptroller.actions import Action, Expire, Extend, Grant, Stop
from comptroller.ledger.books import Attempt
from comptroller.plan.settle import classify
from comptroller.world import Run
from comptroller_api.trial import End


def intrusion(attempt: Attempt, run: Run) -> tuple[End, str] | None:
    """Return the end, and the reason for people, of a run that is no longer what was leased."""
    if why := _stripped(run):
        return "Suspended", why
    if run.done:
        end, why = classify(run)
        message = "its trainer has ended, and another container keeps its pod running"
        return (end if end in {"Error", "OutOfMemory"} else "Suspended"), f"{message}; {why}".rstrip("; ")
    if run.paused and (run.bound or attempt.bound):
        return "Preempted", "its Job was suspended by a queue or by hand"
    if run.bound > attempt.resources.pods:
        return "Suspended", f"{run.bound} pods were started for it, {attempt.resources.pods} paid for"
    for requested in run.requested:
        if beyond := requested.beyond(attempt.resources):
            return "Error", f"its pod is not what is paid for: {beyond}"
    return None


def _stripped(run: Run) -> str:
    """Return what somebody took off a run's objects that it cannot go on without; empty for nothing."""
    if run.hidden:
        return "its labels were taken off, so that the operator no longer sees it"
    if run.restarted:
        return "the image of one of its containers was replaced"
    return "its pod lost the Job controller's finalizer, so another would start" if run.uncounted else ""


def kept(attempt: Attempt, run: Run) -> Iterator[Action]:
    """Yield what brings a run's deadline and grant to what the books grant.

    Where they are raised, the Job's deadline comes first and the guard's grant a pass later, so that the
    guard never has more than the Job. Both are lowered at once.
    """
    most = run.granted if run.most_granted is None else run.most_granted
    if run.deadline != attempt.granted:
        yield Extend(run.name, attempt.granted, run.uid)
    if most > attempt.granted or (run.deadline == attempt.granted and run.granted < attempt.granted):
        yield Grant(run.name, attempt.granted, run.uid)


def ending(run: Run, *, overdue: bool) -> Iterator[Action]:
    """Yield what makes a run end that was stopped, or whose last lease is over.

    Args:
        run: one that is not over.
        overdue: the lease and what its enforcers may take are over.
    """
    if run.stop is not None and run.deadline != 1:
        yield Stop(run.name, run.stop, run.stop_reason, run.uid)
    if overdue and run.live and not run.unreachable and run.pod_deadline > 1:
        yield Expire(run.name, run.uid)
