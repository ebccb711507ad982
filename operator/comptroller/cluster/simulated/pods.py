"""What truly exists and runs: nodes, pods, and the Jobs that made them. The API server knows less."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

from comptroller.cluster.jobs import STOP
from comptroller.cluster.simulated.bodies import Body, stamp
from comptroller.world import AttemptKey
from comptroller_api.contract import Assignment
from comptroller_api.meta import FINALIZER

SIGTERM_TO_CHECKPOINT = 3
"""Seconds a trainer takes to checkpoint and exit, where nothing is wrong with it."""

Cause: TypeAlias = Literal[
    "Bind",
    "Acknowledge",
    "Container",
    "Deadline",
    "Guard",
    "Guarded",
    "Fault",
    "Done",
    "Signal",
    "End",
    "Sidecar",
]
"""What can happen to a pod by itself."""


@dataclass(eq=False)
class Node:
    """A machine that runs pods."""

    name: str
    labels: dict[str, str] = field(default_factory=dict)
    kind: str = "small"
    """The node class that people price it as."""
    capacity: str = "OnDemand"
    gpus: int = 8
    silent: bool = False
    """Its network is gone; what runs on it runs on."""
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
        """Whether the API server and its kubelet hear of each other."""
        return not (self.silent or self.dead)

    def body(self, now: int) -> Body:
        """Return the node as its kubelet registers it."""
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(now)}
        return {"metadata": {"name": self.name, "labels": self.labels}, "status": {"conditions": [ready]}}


@dataclass(frozen=True, slots=True)
class Ending:
    """How the trainer's container ended."""

    code: int
    message: str = ""
    out_of_memory: bool = False


@dataclass(eq=False)
class Pod:
    """One pod. Times are true, in unix seconds of the control plane's clock."""

    uid: str
    name: str
    job: "SimulatedJob"
    cpu: int
    """Milli-cores requested."""
    work: Assignment | None
    """`None`: not a trainer of ours, so it does nothing until it is ended."""
    created: int
    grace: int
    """Seconds from SIGTERM to SIGKILL."""
    longest: int | None
    """Its own `activeDeadlineSeconds`, as the kubelet knows it."""
    heard: int
    """Seconds granted, as the guard knows them."""
    gpus: int = 0
    """Whole ones requested."""
    index: int = 0
    scheduled: int | None = None
    node: Node | None = None
    pull: int = 0
    """Seconds from there to the container's start."""
    acknowledged: int | None = None
    """`status.startTime`: when the kubelet took it, by the node's clock then."""
    began: int | None = None
    """When that was."""
    container: int | None = None
    container_stamp: int = 0
    over: int | None = None
    """When the trainer's container ended; a sidecar may run on."""
    over_stamp: int = 0
    sidecar: bool = False
    """A container was injected that does not end by itself."""
    deleting: bool = False
    """The API server wants it ended, as far as the kubelet knows."""
    by_deadline: bool = False
    """Its own deadline ended it."""
    guarded: int | None = None
    """When the guard began to end the trainer."""
    signalled: int | None = None
    ended: int | None = None
    ended_stamp: int = 0
    exit: Ending | None = None
    reported_at: int | None = None
    """When the API server learned that it had ended, from its kubelet."""
    stepped_back: int = 0
    """Seconds by which its node's clock was stepped back while it ran."""
    cut: bool = False
    """Its node was lost while it ran, so that for a time nobody could tell it anything."""
    given_up: bool = False
    """Its node is gone from the API, so the control plane marked it as failed."""
    ip: str = ""
    hostile: bool = False
    """Its image ignores SIGTERM and has no guard: only SIGKILL ends it."""
    stubborn: bool = False
    """Its worker ignores SIGTERM; the guard kills it."""
    fault: tuple[int, Ending] | None = None
    """After how many seconds of work it fails, and how."""
    work_before: int = 0
    """Seconds of work that its trial had behind it when the container began."""
    body: Body = field(default_factory=dict)
    """As the API server had it last."""
    turn: int = 0

    @property
    def key(self) -> AttemptKey | None:
        """The attempt, where it is one's."""
        return self.job.key

    @property
    def running(self) -> bool:
        """Whether it holds a node's resources, and is paid for."""
        return self.scheduled is not None and self.ended is None

    @property
    def reachable(self) -> bool:
        """Whether the API server and its kubelet hear of each other."""
        return self.node is None or self.node.reachable

    @property
    def reported(self) -> bool:
        """Whether its kubelet could say that it ended."""
        return self.reported_at is not None

    @property
    def dying(self) -> int:
        """Seconds from SIGTERM to the end."""
        if self.container is None:
            return 0
        if self.hostile or self.stubborn or self.work is None:
            return self.grace
        return min(SIGTERM_TO_CHECKPOINT, self.grace)

    def until(self, now: int) -> int:
        """Return when it ended, or else `now`."""
        return now if self.ended is None else self.ended


@dataclass(eq=False)
class SimulatedJob:
    """A Job and every pod that was ever made for it."""

    name: str
    uid: str
    created: int
    key: AttemptKey | None
    """The attempt that an operator made it for; `None`: it is somebody else's."""
    assignment: Assignment | None
    """What its pods have to do; `None` where none was launched with it, such as for a tombstone."""
    body: Body
    """As the API server had it last."""
    pods: list[Pod] = field(default_factory=list)
    gone: bool = False
    """Its object is gone from the API server."""
    faults: list[str] = field(default_factory=list)
    """What is wrong with the pods that it will have, as fields of `Pod`."""
    tampered: bool = False
    """Somebody but the operator and Kubernetes changed it, or one of its pods."""

    @property
    def running(self) -> bool:
        """Whether any of its pods is paid for."""
        return any(pod.running for pod in self.pods)

    @property
    def stop(self) -> str | None:
        """The end that an operator asked for."""
        return cast("str | None", self.body["metadata"].get("annotations", {}).get(STOP))

    @property
    def released(self) -> bool:
        """Whether nothing of ours keeps it or its pods."""
        bodies = [self.body, *(pod.body for pod in self.pods)]
        return all(FINALIZER not in body["metadata"].get("finalizers", ()) for body in bodies)

    @property
    def scheduled(self) -> int | None:
        """When the first of its pods was bound to a node."""
        return min((pod.scheduled for pod in self.pods if pod.scheduled is not None), default=None)

    @property
    def ended(self) -> int | None:
        """When its last pod ended; `None` where one has not, or where there was none."""
        ends = [pod.ended for pod in self.pods]
        return None if None in ends else max((end for end in ends if end is not None), default=None)
