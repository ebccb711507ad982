"""Mistakes in trusting objects and their fields."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from comptroller.actions import Action, Extend, Grant
from comptroller.cluster import job_events, kubernetes, ownership, reading, runs
from comptroller.cluster.ownership import is_watched, orphaned
from comptroller.cluster.pods import unix
from comptroller.plan import ended, enforce, namespace, running, settle, study
from mutants.planted.registry import Patch, mutant


def nobody_ends(patch: Patch) -> None:
    """Plant that stopped and overdue runs are left for others to end."""
    for part in (running, ended):
        patch.setattr(part, "ending", lambda *_, **__: iter(()))


def settled_as_seen(patch: Patch, which: str) -> None:
    """Plant that a run with the flag `which` is over, whatever the books know of its start."""
    close = ended.Closing._settle_ended

    def at_once(self: ended.Closing, attempt: Any, run: Any) -> None:
        if not getattr(run, which):
            close(self, attempt, run)
            return
        end, reason = settle.classify(run)
        self.entries += settle.settle(self.world.books, attempt, run, run.ended, end, reason)
        self.given_up.add(run.key)

    patch.setattr(ended.Closing, "_settle_ended", at_once)


def queues_are_let(patch: Patch, **also: Any) -> None:
    """Plant that a suspended Job may be resumed, and that `also` is hidden from the plan."""
    intrusion = enforce.intrusion

    def blind(attempt: Any, run: Any) -> Any:
        bound = min(run.bound, attempt.resources.pods)
        return intrusion(attempt, replace(run, paused=False, bound=bound, **also))

    patch.setattr(running, "intrusion", blind)


@mutant
def talked_out_of_its_lease(patch: Patch) -> None:
    """M1: values that others raised are never lowered, and time alone closes the books on running pods."""

    def raised(attempt: Any, run: Any) -> Iterator[Action]:
        if run.deadline < attempt.granted:
            yield Extend(run.name, attempt.granted, run.uid)
        elif run.granted < attempt.granted:
            yield Grant(run.name, attempt.granted, run.uid)

    def by_time(self: ended.Closing, granted: int, run: Any) -> bool:
        if run.started is None or run.scheduled is None:
            return False
        latest = max(start for start, _ in run.billed(self._now))
        return bool(self._now > latest + granted + self.overhead + ended.UNCONFIRMED_AFTER)

    patch.setattr(running, "kept", raised)
    patch.setattr(ended.Closing, "_surely_over_after", by_time)
    nobody_ends(patch)


@mutant
def parallelism_0_is_a_tombstone(patch: Patch) -> None:
    """M3: a Job with a parallelism of 0 counts as stopped, even if its pod is in its grace period."""
    spans = runs._spans

    def is_tombstone(body: Any) -> bool:
        return bool(body["spec"].get("parallelism", 1) == 0)

    def nothing(job_body: Any, *rest: Any) -> Any:
        if is_tombstone(job_body):
            return [], [unix(job_body["metadata"]["creationTimestamp"])], True, False
        return spans(job_body, *rest)

    patch.setattr(runs, "is_tombstone", is_tombstone)
    patch.setattr(reading, "is_tombstone", is_tombstone)
    patch.setattr(runs, "_spans", nothing)
    settled_as_seen(patch, "tombstone")


@mutant
def whatever_has_the_name_is_ours(patch: Patch) -> None:
    """M4: a Job under an attempt's name is the attempt, whatever its creator and its requests."""
    patch.setattr(namespace, "identified", lambda world: world)


@mutant
def launched_again_on_one_lease(patch: Patch) -> None:
    """M5: an attempt that somebody removed with its Job counts as never launched."""
    steer = running.steer

    def again(view: Any, terms: Any, verdict: Any, p: Any, attempt: Any, lowered: Any) -> Any:
        return steer(view, terms, verdict, p, replace(attempt, bound=0), lowered)

    patch.setattr(study, "steer", again)
    patch.setattr(ended.Closing, "vanished", lambda _self, _attempt: None)


@mutant
def what_nobody_saw_was_never_there(patch: Patch) -> None:
    """An attempt that was removed before it was seen is launched again, and its first pod is not billed."""

    async def never(_self: job_events.JobEvents, _namespace: str, _name: str) -> None:
        return None

    patch.setattr(job_events.JobEvents, "removed", never)


@mutant
def every_launch_is_the_first(patch: Patch) -> None:
    """A launch does not ask whether its attempt was launched before."""
    launch = running._launch
    patch.setattr(running, "_launch", lambda *args: replace(launch(*args), first=True))


@mutant
def whose_owner_is_gone_is_foreign(patch: Patch) -> None:
    """A Job is somebody else's once its owner reference is taken off, whatever its template states."""
    patch.setattr(runs, "is_stated", lambda _body: False)


@mutant
def what_no_watch_brings_is_not_looked_for(patch: Patch) -> None:
    """A Job counts a pod that is not in sight, and nobody looks where it is."""
    seen = namespace._is_partly_seen
    patch.setattr(namespace, "_is_partly_seen", lambda run, now: seen(replace(run, incomplete=False), now))


@mutant
def what_has_no_label_is_not_ours(patch: Patch) -> None:
    """Objects are not searched for that lost our label, and that watches therefore do not report."""
    patch.setattr(
        kubernetes.Kubernetes,
        "_ours",
        lambda _self, resource, _namespace, bodies: [
            body for body in bodies if resource not in {"jobs", "pods"} or is_watched(body)
        ],
    )


@mutant
def a_fresh_look_forgets_who_has_a_name(patch: Patch) -> None:
    """A Job that somebody made under an attempt's name, without its labels, is there in every other pass."""
    patch.setattr(kubernetes.Kubernetes, "_named", lambda _self, body: body)


@mutant
def labels_are_what_somebody_wrote(patch: Patch) -> None:
    """A pod belongs to the attempt that its labels name now, and not to the one that it was made for."""
    patch.setattr(ownership, "_made_with", lambda _spec: {})


@mutant
def orphans_are_nobodys(patch: Patch) -> None:
    """A pod without an owner belongs to no attempt."""
    by_job = ownership.by_job
    patch.setattr(reading, "by_job", lambda pods: by_job(pod for pod in pods if not orphaned(pod)))
