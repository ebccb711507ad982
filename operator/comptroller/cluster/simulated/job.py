"""One Job and its pod as a state machine, and the node it runs on."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from comptroller.world import AttemptKey, Exit, Run
from comptroller_api.contract import EXIT_FINISHED, Assignment
from comptroller_api.trial import End

SIGTERM_TO_CHECKPOINT = 3
"""Seconds a trainer takes to checkpoint and exit, where nothing is wrong with it."""

Cause: TypeAlias = Literal[
    "Start", "Bind", "Deadline", "Signal", "Container", "Guard", "Kubelet", "End", "Done", "Fault"
]
"""What can happen to a Job by itself."""


@dataclass(eq=False)
class Node:
    """A machine that runs pods."""

    name: str
    silent: bool = False
    """Nothing reaches it and nothing is heard of it; what runs on it runs on."""
    dead: bool = False
    """It is gone, and what ran on it too."""
    forever: bool = False
    """It does not come back."""
    clock: int = 0
    """Seconds by which its clock is ahead of the control plane's."""
    cut_at: int = 0
    """When it was last heard of before it was lost."""

    @property
    def reachable(self) -> bool:
        """The API server and its kubelet hear of each other."""
        return not (self.silent or self.dead)


@dataclass(eq=False)
class SimulatedJob:
    """One Job and its pod. Times are true; what others see of them is in `run`."""

    key: AttemptKey
    name: str
    assignment: Assignment | None
    """`None`: a tombstone, which runs nothing."""
    deadline: int
    granted: int
    """What the pod's annotation says."""
    created: int
    cpu: int
    longest: int
    owner: str = ""
    """The uid of the trial or study with which it goes; empty: it stays."""
    started: int | None = None
    """The Job controller has seen it."""
    scheduled: int | None = None
    """Its pod is bound to a node."""
    node: Node | None = None
    pull: int = 0
    """Seconds from there to the container's start."""
    container: int | None = None
    heard: int = 0
    """Seconds granted, as far as the guard has heard."""
    to_end: bool = False
    """The API server wants the pod ended, and the kubelet may not know yet."""
    by_deadline: bool = False
    """A deadline, or the guard, is why it ends."""
    by_guard: bool = False
    signalled: int | None = None
    ended: int | None = None
    exit: Exit = field(default_factory=Exit)
    reported: bool = False
    """The kubelet could say that it ended."""
    reported_at: int = 0
    """When it did."""
    collected: int | None = None
    """When the pod's garbage collector gave it up, since its node is gone from the API."""
    stop: End | None = None
    stop_reason: str = ""
    disruption: str = ""
    released: bool = False
    deleted: bool = False
    hostile: bool = False
    """Its image ignores SIGTERM and has no guard: only SIGKILL ends it."""
    stubborn: bool = False
    """Its worker ignores SIGTERM; the guard kills it."""
    fault: tuple[int, Exit] | None = None
    """After how many seconds of work it fails, and how."""
    work_before: int = 0
    """Seconds of work that its trial had behind it when the container began."""
    version: int = 0
    """Of the Job object."""
    turn: int = 0

    @property
    def running(self) -> bool:
        """Its pod holds a node's resources, and is paid for."""
        return self.scheduled is not None and self.ended is None

    @property
    def reachable(self) -> bool:
        """The API server and the pod's kubelet hear of each other."""
        return self.node is None or self.node.reachable

    @property
    def grace(self) -> int:
        """Seconds from SIGTERM to the end."""
        if self.assignment is None or self.container is None:
            return 0
        slow = self.hostile or self.stubborn
        return (
            self.assignment.grace_seconds
            if slow
            else min(SIGTERM_TO_CHECKPOINT, self.assignment.grace_seconds)
        )


@dataclass(frozen=True, slots=True)
class JobView:
    """What the API server has of the Job object."""

    key: AttemptKey
    name: str
    deadline: int
    template: int
    """Seconds that a pod of it is granted to begin with."""
    started: int | None
    stop: End | None
    stop_reason: str
    released: bool
    deleted: bool
    over: int | None
    by_deadline: bool
    complete: bool
    tombstone: bool
    version: int

    @classmethod
    def of(cls, job: SimulatedJob) -> "JobView":
        """As it is now."""
        heard = job.reported or job.collected is not None
        return cls(
            job.key,
            job.name,
            job.deadline,
            job.assignment.lease_seconds if job.assignment else 0,
            job.started,
            job.stop,
            job.stop_reason,
            job.released,
            job.deleted,
            job.collected or job.ended if heard else None,
            job.exit.deadline,
            job.exit.code == EXIT_FINISHED,
            job.assignment is None,
            job.version,
        )


@dataclass(frozen=True, slots=True)
class PodView:
    """What the API server has of the pod object."""

    granted: int
    scheduled: int | None
    acknowledged: int | None
    """`startTime`: when the kubelet saw it, by the node's clock."""
    finished: int | None
    """`finishedAt`, by the node's clock; `None` where nobody saw it."""
    exit: Exit

    @property
    def ended(self) -> int | None:
        """When its work had stopped, by the control plane's clock."""
        if self.scheduled is None or self.acknowledged is None or self.finished is None:
            return self.finished
        return self.scheduled + max(0, self.finished - self.acknowledged)

    @classmethod
    def of(cls, job: SimulatedJob) -> "PodView | None":
        """As it is now; `None` before there is one."""
        if job.started is None or job.assignment is None:
            return None
        clock = job.node.clock if job.node else 0
        acknowledged = None if job.scheduled is None else job.scheduled + clock
        if job.reported and job.ended is not None:
            return cls(job.granted, job.scheduled, acknowledged, job.ended + clock, job.exit)
        # One that was given up has no `finishedAt`: it may run on where nobody can look.
        lost = Exit(disruption=job.disruption) if job.disruption else Exit()
        return cls(job.granted, job.scheduled, acknowledged, None, lost)


def run(job: JobView, pod: PodView | None, idle_seconds: int = 0, silent_seconds: int = 0) -> Run:
    """What an observer makes of the two, each of which may be older than the other."""
    if pod is None:
        had_pod = job.over is not None and not job.tombstone and job.started is not None
        return Run(
            key=job.key,
            name=job.name,
            deadline=job.deadline,
            granted=job.template,
            started=job.started,
            scheduled=job.started if had_pod else None,
            ended=job.over,
            exit=Exit(code=EXIT_FINISHED if job.complete else None, deadline=job.by_deadline),
            stop=job.stop,
            stop_reason=job.stop_reason,
            released=job.released,
            deleted=job.deleted,
            unseen=had_pod,
        )
    return Run(
        key=job.key,
        name=job.name,
        deadline=job.deadline,
        granted=pod.granted,
        started=job.started,
        scheduled=pod.scheduled,
        ended=pod.ended,
        exit=pod.exit,
        stop=job.stop,
        stop_reason=job.stop_reason,
        released=job.released,
        deleted=job.deleted,
        silent_seconds=silent_seconds,
        idle_seconds=idle_seconds,
    )
