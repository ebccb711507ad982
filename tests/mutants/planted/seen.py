"""Mistakes in reading pods: when they began and ended, and what that costs."""

from typing import Any

from comptroller.cluster import pods, runs
from comptroller.plan import ended, settle
from comptroller.world import Run
from mutants.planted.objects import queues_are_let
from mutants.planted.registry import Patch, decision, mutant


def _stamped(pod: Any, start: int, at: int) -> int:
    acknowledged = pods.unix(pod["status"].get("startTime"))
    return at if acknowledged is None else start + at - acknowledged


@mutant
def a_clock_ahead_is_believed(patch: Patch) -> None:
    """M6: a pod ends when its node's clock says, even after its end was reported."""
    by_clocks = pods._by_clocks

    def believed(pod: Any, start: int, at: int, job_over: int | None) -> tuple[int, bool]:
        end = _stamped(pod, start, at)
        return (end, True) if end >= start else by_clocks(pod, start, at, job_over)

    patch.setattr(pods, "_by_clocks", believed)


@mutant
def a_clock_behind_bills_nothing(patch: Patch) -> None:
    """M7: a pod that ended before it began, by its node's clock, counts as not run, whatever it reported."""
    by_clocks = pods._by_clocks

    def nothing(pod: Any, start: int, at: int, job_over: int | None) -> tuple[int, bool]:
        end = _stamped(pod, start, at)
        return (start, True) if end < start else by_clocks(pod, start, at, job_over)

    patch.setattr(pods, "_by_clocks", nothing)
    patch.setattr(settle, "_as_heard", lambda run: run)


@mutant
def only_the_newest_pod_is_billed(patch: Patch) -> None:
    """M8: of the pods of a Job that was suspended and resumed, only the last one is billed."""
    spans = runs._spans

    def newest(job_body: Any, _pods: Any, latest: Any, *rest: Any) -> Any:
        return spans(job_body, tuple(latest.values()), latest, *rest)

    patch.setattr(runs, "_spans", newest)
    patch.setattr(settle, "whole", lambda run, *_: run)
    queues_are_let(patch)


@mutant
def a_pod_ends_with_its_trainer(patch: Patch) -> None:
    """M10: an injected container that outlives the trainer is neither stopped nor billed."""

    def trainer(pod: Any) -> Any:
        done = pods.terminated(pod)
        if done is not None and (at := pods.unix(done.get("finishedAt"))) is not None:
            yield at

    patch.setattr(pods, "_ends", trainer)
    queues_are_let(patch, done=False)


@mutant
def what_vanished_cost_nothing(patch: Patch) -> None:
    """An attempt whose Job and pods somebody removed is settled as if it had never run."""

    def nothing(self: ended.Closing, attempt: Any) -> None:
        if self._fresh():
            gone = Run(attempt.key, attempt.name, 0, 0, started=None, ended=self._now)
            self.entries += settle.settle(self.world.books, attempt, gone, self._now, "Suspended", "gone")
            self.given_up.add(attempt.key)

    patch.setattr(ended.Closing, "vanished", nothing)


@mutant
def billed_from_the_container_on(patch: Patch) -> None:
    """The time for pulling an image is not billed."""
    span = pods.span

    def later(pod: Any, job_over: int | None) -> Any:
        start, end, certain = span(pod, job_over)
        began = [
            pods.unix(state["startedAt"])
            for one in pod.get("status", {}).get("containerStatuses", [])
            for state in one["state"].values()
            if "startedAt" in state
        ]
        if start is not None and began:
            start = max(start, min(filter(None, began)))
        return start, end, certain

    patch.setattr(pods, "span", later)


@decision("another pod in the place of the first is billed to the end of the lease")
def only_the_second_pod_is_known(patch: Patch) -> None:
    """If the first pod is gone and another one exists, the first pod's time is ignored."""
    patch.setattr(settle, "whole", lambda run, *_: run)
