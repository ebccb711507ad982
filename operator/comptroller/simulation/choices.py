"""The states in which a walk begins, and the choices at each of its steps."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from comptroller.simulation import costs, faults, people, storage, tenants
from comptroller.simulation.small import ONE_TRIAL, Small


def _over() -> Small:
    run = Small().passed(3)
    while any(pod.ended is None for pod in run.cluster.pods.values()):
        run.cluster.advance(1)
    return run


def _second(passes: int) -> Small:
    """The first attempt has failed, and the second was launched so many passes ago."""
    run = Small(replace(ONE_TRIAL, trials=2, epochs=(1, 2), retries=1)).passed(3)
    faults.PodFault(0, 0, "error").happen(run)
    first = len(run.cluster.launches)
    while len(run.cluster.launches) == first:
        run.passed(1)
    return run.passed(passes)


STARTS: dict[tuple[str, ...], Callable[[], Small]] = {
    (): lambda: Small().passed(3),
    ("unseen",): lambda: Small().passed(2),
}
"""An attempt whose pod an operator has seen, and one whose pod none has; by what a path begins with."""

WIDE_STARTS: dict[tuple[str, ...], Callable[[], Small]] = {
    ("leased",): lambda: Small().passed(1),
    ("over",): _over,
    ("may retry",): lambda: Small(replace(ONE_TRIAL, epochs=(1, 2), retries=1)).passed(3),
    ("second",): lambda: _second(2),
    ("second, unseen",): lambda: _second(0),
    ("deaf",): lambda: Small(replace(ONE_TRIAL, foreign=True, retries=1)).passed(3),
    ("deaf, unseen",): lambda: Small(replace(ONE_TRIAL, foreign=True, retries=1)).passed(2),
}
"""Further starts: before the launch, after the end, in a second attempt, and with no guard in the image."""


def _does(event: Any) -> Callable[[Small], bool]:
    def happen(run: Small) -> bool:
        event.happen(run)
        return True

    return happen


def _dies(points: int) -> Callable[[Small], bool]:
    return lambda run: run.dies(points)


def _stale(slot: str, kind: str) -> Callable[[Small], bool]:
    return lambda run: run.stale(slot, kind)


CHOICES: dict[str, Callable[[Small], bool]] = {
    "a passes": lambda run: run.let("a"),
    "b passes": Small.second,
    "time passes": Small.passes_on,
    **{f"a dies at point {points}": _dies(points) for points in (2, 4, 6, 9)},
    **{f"the watch of {kind} of {slot}": _stale(slot, kind) for slot in "ab" for kind in ("jobs", "pods")},
    "talked out of its lease": _does(tenants.Talk(0, 0)),
    "suspended": _does(tenants.EditJob(0, 0, "suspend")),
    "resumed": _does(tenants.EditJob(0, 0, "resume")),
    "parallelism 0": _does(tenants.EditJob(0, 0, "parallelism 0")),
    "stop note": _does(tenants.EditJob(0, 0, "stop note")),
    "Job unlabelled": _does(tenants.EditJob(0, 0, "managed-by")),
    "Job disowned": _does(tenants.EditJob(0, 0, "owner")),
    "pod unlabelled": _does(tenants.EditPod(0, 0, "managed-by")),
    "pod's finalizers taken off": _does(tenants.EditPod(0, 0, "finalizers")),
    "pod's place changed": _does(tenants.EditPod(0, 0, "labels")),
    "Job deleted": _does(tenants.DeleteManaged(0, 0, "jobs", "Background")),
    "Job orphaned": _does(tenants.DeleteManaged(0, 0, "jobs", "Orphan")),
    "all stripped": _does(tenants.DeleteManaged(0, 0, "jobs", "stripped")),
    "pod deleted": _does(tenants.DeleteManaged(0, 0, "pods", "Background")),
    "clock steps": _does(tenants.ClockStep(0, 0, 3600)),
}


def _study(**edit: Any) -> Callable[[Small], bool]:
    return _does(people.EditStudy(0, 1, **edit))


WIDE_CHOICES: dict[str, Callable[[Small], bool]] = {
    **{f"Job: {edit}": _does(tenants.EditJob(0, 0, edit)) for edit in tenants.JOB_EDITS},
    **{f"pod: {edit}": _does(tenants.EditPod(0, 0, edit)) for edit in tenants.POD_EDITS},
    "Job deleted in the foreground": _does(tenants.DeleteManaged(0, 0, "jobs", "Foreground")),
    "pod deleted by force": _does(tenants.DeleteManaged(0, 0, "pods", "forced")),
    "pod stripped": _does(tenants.DeleteManaged(0, 0, "pods", "stripped")),
    "attempts removed": _does(tenants.Remover(0, 60)),
    "impostor": _does(tenants.Impostor(0, 1, 0, 2)),
    "sidecars": _does(tenants.Sidecars(0, 100)),
    "quota": _does(tenants.Quota(0, 60)),
    "clock steps back": _does(tenants.ClockStep(0, 0, -3600)),
    "clock always behind": _does(faults.NodeClock(0, 0, -3000)),
    "study deleted": _does(people.DeleteStudy(0, 1)),
    "study deleted by force": _does(people.DeleteStudy(0, 1, forced=True)),
    "study deleted, its objects stay": _does(people.DeleteStudy(0, 1, orphans=True)),
    "study deleted by force, its objects stay": _does(people.DeleteStudy(0, 1, forced=True, orphans=True)),
    "study suspended": _study(suspend=True),
    "study resumed": _study(suspend=False),
    "ceiling lowered": _study(ceiling="0.05"),
    "ceiling raised": _study(ceiling="5.00"),
    "team changed": _study(team="y"),
    "trial deleted": _does(people.DeleteTrial(0, 0)),
    "budget set": _does(people.SetBudget(0, "all", "0.10")),
    "prices deleted": _does(costs.DropPrices(0)),
    "operator's clock ahead": _does(faults.Skew(0, "a", 50)),
    "operator's clock behind": _does(faults.Skew(0, "a", -50)),
    "actions lost": _does(faults.LostAction(0, "a", effect=False, count=2)),
    "answers lost": _does(faults.LostAction(0, "a", effect=True, count=2)),
    "API server away, watches last": _does(faults.ApiAway(0, 90, watches_last=True)),
    "API server away": _does(faults.ApiAway(0, 90, watches_last=False)),
    "S3 away": _does(storage.StoreAway(0, 60)),
    "controllers down": _does(faults.ControllersDown(0, 90)),
    "node cut off": _does(faults.NodeLost(0, 0, 80)),
    "node cut off forever": _does(faults.NodeLost(0, 0, None)),
    "node cut off and collected": _does(faults.NodeLost(0, 0, None, collected=100)),
    "node dead": _does(faults.NodeLost(0, 0, None, dead=True)),
    "error": _does(faults.PodFault(0, 0, "error")),
    "out of memory": _does(faults.PodFault(0, 0, "oom")),
    "preempted": _does(faults.PodFault(0, 0, "preempted")),
    "report lost": _does(faults.BadReport(0, "lost")),
    "a stands still for 90s": _does(faults.StandStill(0, "a", 4, 90)),
    "a stands still for 40s": _does(faults.StandStill(0, "a", 2, 40)),
    "a dies for 60s": _does(faults.Crash(0, "a", 5, 60)),
    "next pod stubborn": _does(faults.NextJob(0, "stubborn")),
    "next pod hostile": _does(faults.NextJob(0, "hostile")),
    "next pull slow": _does(faults.SlowPull(0, 40)),
}
"""The other edits of people, and the faults of nodes, clocks, stores and operators."""
