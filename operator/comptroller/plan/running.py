"""The next step of an attempt that holds a lease: launch, renewal, stop, or the loss of its name."""

from comptroller.actions import Action, Bury, Introduce, Launch, Stop
from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Attempt
from comptroller.ledger.entries import Entry
from comptroller.plan import places, trials, trouble
from comptroller.plan.enforce import ending, intrusion, kept
from comptroller.plan.leases import Leases
from comptroller.plan.trials import Progress
from comptroller.plan.verdict import Verdict
from comptroller.plan.view import StudyView
from comptroller.world import Run, trial_prefix
from comptroller_api import quantity
from comptroller_api.contract import Assignment
from comptroller_api.study import Latency
from comptroller_api.trial import End, Trial


def steer(
    view: StudyView,
    leases: Leases,
    verdict: Verdict,
    p: Progress,
    attempt: Attempt,
    lowered: AccountName | None,
) -> tuple[list[Entry], list[Action]]:
    """Return the entries and actions for a trial's open attempt.

    Args:
        view: the study.
        leases: what it may still be granted.
        verdict: where it stands.
        p: the trial.
        attempt: its open attempt.
        lowered: the account whose ceiling fell under what is held, so that this attempt is stopped.
    """
    run = view.run_of(attempt)
    if run is None:
        return [], _absent(view, leases, verdict, p.trial, attempt, lowered)
    if run.ended is not None and not (run.paused or run.uncounted):
        return [], []
    if run.stop is not None:
        # A pod whose trainer is done has no guard any more, so that its kubelet has to end it too.
        return [], list(ending(run, overdue=run.done or run.restarted))
    if (why := _why_stop(view, leases, verdict, attempt, run, lowered)) is not None:
        return [], [Stop(run.name, *why, run.uid)]
    return _keep(leases, verdict, attempt, run)


def _keep(leases: Leases, verdict: Verdict, attempt: Attempt, run: Run) -> tuple[list[Entry], list[Action]]:
    """Let a run have what the books grant, and renew its lease at half-time."""
    actions = list(kept(attempt, run))
    if run.leader is not None:
        actions.append(Introduce(run.name, run.leader))
    lease = leases.renewal(attempt, run) if verdict.state == "Active" else None
    return [] if lease is None else [lease], actions


def _absent(
    view: StudyView,
    leases: Leases,
    verdict: Verdict,
    trial: Trial,
    attempt: Attempt,
    lowered: AccountName | None,
) -> list[Action]:
    """Return the launch of an attempt that has no Job, or what keeps others from launching it."""
    key = attempt.key
    if attempt.bound or key in view.world.taken or key in view.world.removed:
        return []  # it is never launched again; `Closing` decides when it is settled
    if lowered is None and verdict.state == "Active" and leases.launchable(attempt):
        return [_launch(view, leases, trial, attempt)]
    return [Bury(key, attempt.name, lowered or verdict.message, trial)]


def _why_stop(
    view: StudyView, leases: Leases, verdict: Verdict, attempt: Attempt, run: Run, lowered: AccountName | None
) -> tuple[End, str] | None:
    """Return the end and the reason of a run that may not go on; `None` where it may."""
    if (found := intrusion(attempt, run)) is not None:
        return found
    idle = view.study.spec.runtime.idle
    why: str | None
    if verdict.state not in {"Active", "Held"}:
        why = verdict.message
    elif lowered is not None:
        why = f"{lowered} was lowered under what is held"
    elif run.started is None and leases.too_late(attempt):
        why = "it came too late to begin"
    elif run.deleted:
        # Its pods outlive it: our finalizer keeps it, and the garbage collector waits for that.
        why = "its Job was deleted"
    elif places.dearer(attempt):
        why = f"{places.trouble(attempt)}, above what is held"
    elif idle is not None and run.idle_seconds >= quantity.seconds(idle.window):
        why = f"{trials.IDLE}: utilization under {idle.threshold}% for {run.idle_seconds}s"
    else:
        why = trouble.not_started(attempt, run, view.world.now)
    return None if why is None else ("Suspended", why)


def _launch(view: StudyView, leases: Leases, trial: Trial, attempt: Attempt) -> Launch:
    study, spec, meta = view.study, view.study.spec, view.study.metadata
    epochs = spec.search.rungs.epochs
    assignment = Assignment(
        study=meta.name,
        namespace=meta.namespace,
        trial=attempt.trial,
        attempt=attempt.number,
        name=attempt.name,
        seed=trial.spec.seed,
        parameters=trial.spec.parameters,
        rung=attempt.rung,
        epochs=epochs[min(attempt.rung, len(epochs) - 1)],
        total_epochs=epochs[-1],
        data=spec.data,
        artifacts=trial_prefix(study, attempt.trial),
        latency=spec.ceilings.latency or Latency(limit="1h"),
        lease_seconds=attempt.granted,
        grace_seconds=leases.grace,
    )
    return Launch(
        study,
        trial,
        assignment,
        spec.runtime.image or view.world.trainer_image,
        attempt.resources,
        leases.priced.node_selector,
        leases.priced.tolerations,
        leases.guarded,
        first=attempt.key in view.world.leased,
    )
