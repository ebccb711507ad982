"""The true state: nodes, pods, and the Jobs that made them. The API server knows less."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, cast

from comptroller.cluster.jobs import STOP
from comptroller.cluster.simulated.bodies import Body, stamp
from comptroller.ledger.names import AttemptKey
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
"""The events that can happen to a pod by themselves."""


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
    """The node's network is gone; pods on it run on."""
    dead: bool = False
    """The node is gone, with all that ran on it."""
    forever: bool = False
    """The node does not come back."""
    clock: int = 0
    """Seconds by which its clock is ahead of the control plane's."""
    cut_at: int = 0
    """The last answer before it was lost."""

    @property
    def reachable(self) -> bool:
        """Return whether the API server and its kubelet hear of each other."""
        return not (self.silent or self.dead)

    def body(self, now: int) -> Body:
        """Return the node as its kubelet registers it."""
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": stamp(now)}
        return {"metadata": {"name": self.name, "labels": self.labels}, "status": {"conditions": [ready]}}


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of the trainer's container."""

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
    """The pod's own `activeDeadlineSeconds`, as the kubelet knows it."""
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
    """The true time of that."""
    container: int | None = None
    container_stamp: int = 0
    over: int | None = None
    """The end of the trainer's container; a sidecar may run on."""
    over_stamp: int = 0
    sidecar: bool = False
    """A container was injected that does not end by itself."""
    deleting: bool = False
    """The API server wants it ended, as far as the kubelet knows."""
    by_deadline: bool = False
    """The pod's own deadline ended it."""
    guarded: int | None = None
    """The time at which the guard began to end the trainer."""
    signalled: int | None = None
    ended: int | None = None
    ended_stamp: int = 0
    exit: Ending | None = None
    reported_at: int | None = None
    """The time at which the API server learned from its kubelet that it had ended."""
    stepped_back: int = 0
    """Seconds by which its node's clock was stepped back while it ran."""
    cut: bool = False
    """The pod's node was lost while the pod ran, so that for a time nothing could reach it."""
    given_up: bool = False
    """The pod's node is gone from the API, so the control plane marked the pod as failed."""
    ip: str = ""
    hostile: bool = False
    """The pod's image ignores SIGTERM and has no guard: only SIGKILL ends it."""
    stubborn: bool = False
    """The pod's worker ignores SIGTERM; the guard kills it."""
    fault: tuple[int, Ending] | None = None
    """The seconds of work after which it fails, and the end of its container."""
    work_before: int = 0
    """Seconds of work that its trial had behind it when the container began."""
    body: Body = field(default_factory=dict)
    """The pod as the API server had it last."""
    turn: int = 0

    @property
    def key(self) -> AttemptKey | None:
        """The attempt, where it is one's."""
        return self.job.key

    @property
    def running(self) -> bool:
        """Return whether it holds a node's resources, and is paid for."""
        return self.scheduled is not None and self.ended is None

    @property
    def reachable(self) -> bool:
        """Return whether the API server and its kubelet hear of each other."""
        return self.node is None or self.node.reachable

    @property
    def reported(self) -> bool:
        """Return whether its kubelet could report that it ended."""
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
    """The work of its pods; `None` if none was launched with it, such as for a tombstone."""
    body: Body
    """The Job as the API server had it last."""
    pods: list[Pod] = field(default_factory=list)
    gone: bool = False
    """The Job's object is gone from the API server."""
    faults: list[str] = field(default_factory=list)
    """The faults of the pods that it will have, as fields of `Pod`."""
    tampered: bool = False
    """Somebody but the operator and Kubernetes changed it, or one of its pods."""

    @property
    def running(self) -> bool:
        """Return whether any of its pods is paid for."""
        return any(pod.running for pod in self.pods)

    @property
    def stop(self) -> str | None:
        """Return the end that an operator requested."""
        return cast("str | None", self.body["metadata"].get("annotations", {}).get(STOP))

    @property
    def released(self) -> bool:
        """Return whether nothing of ours keeps it or its pods."""
        bodies = [self.body, *(pod.body for pod in self.pods)]
        return all(FINALIZER not in body["metadata"].get("finalizers", ()) for body in bodies)

    @property
    def scheduled(self) -> int | None:
        """Return when the first of its pods was bound to a node."""
        return min((pod.scheduled for pod in self.pods if pod.scheduled is not None), default=None)

    @property
    def ended(self) -> int | None:
        """Return when its last pod ended; `None` if one has not ended, or it has no pods."""
        ends = [pod.ended for pod in self.pods]
        return None if None in ends else max((end for end in ends if end is not None), default=None)
