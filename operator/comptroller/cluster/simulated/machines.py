"""Nodes and what runs on them: scheduler, kubelets, guards and trainers.

Every pod gives the time of its next change, and time moves there; so a simulation costs what happens in it
and not the seconds that pass. Kubelets write what they know into the pods' bodies as soon as the API server
hears them, with their own node's clock.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from comptroller.cluster.simulated.bodies import Body, is_over, stamp, with_condition
from comptroller.cluster.simulated.pods import Cause, Ending, Node, Pod, SimulatedJob
from comptroller.cluster.simulated.server import Server
from comptroller.cluster.simulated.timeline import Timeline
from comptroller.cluster.simulated.trainer import Work, report, seconds_of_work
from comptroller.ledger.names import TrialKey
from comptroller_api import contract, quantity
from comptroller_api.contract import GRANT_ANNOTATION, LEASE_OVER, Assignment, report_key
from comptroller_api.study import WHOLE_GPU

_KILLED, _FAILED, _UNKNOWN = 137, 1, 255
_NODE_GRACE = 40
"""Seconds without a word from a kubelet after which its node counts as lost."""


@dataclass
class Faults:
    """The probabilities of faults."""

    stale: float = 0.0
    """A pass reads the namespace as it was some time ago."""
    lost_before: float = 0.0
    """An action raises and took no effect."""
    lost_after: float = 0.0
    """An action took effect and raises."""
    error: float = 0.0
    """Percent of an attempt's seconds in which it exits 1."""
    hostile: float = 0.0
    """A pod ignores SIGTERM."""
    no_report: float = 0.0
    """An attempt exits 0 and leaves no report."""


class Witness:
    """Sees what truly happens; does nothing about it."""

    def launched(self, job: SimulatedJob) -> None:
        """A Job that will run a pod was created by an operator."""

    def made(self, pod: Pod) -> None:
        """A pod was created."""

    def ended(self, pod: Pod) -> None:
        """A pod has truly ended, even if nobody knows."""

    def changed(self) -> None:
        """The API server has something new for those who watch."""

    def say(self, who: str, what: str) -> None:
        """Something that a person would want to read happened."""


class Machines:
    """The pods of a cluster and the nodes that they run on. Times are the control plane's."""

    def __init__(
        self,
        seed: int,
        put_report: Callable[[str, bytes], None],
        *,
        milli_cores: int = 4000,
        nodes: int = 1,
        faults: Faults | None = None,
        work: Work = seconds_of_work,
        now: int = 1_800_000_000,
    ) -> None:
        """Start with nothing running."""
        self.timeline = Timeline(now)
        self.server = Server(lambda: self.timeline.now)
        self.witness = Witness()
        self.all_jobs: dict[str, SimulatedJob] = {}
        """Every Job there ever was, by uid."""
        self.pods: dict[str, Pod] = {}
        """Every pod there ever was, by uid."""
        self.live: dict[str, Pod] = {}
        """Pods that have not ended, or whose end the API server may yet hear of."""
        self.nodes = [Node(f"node-{number}") for number in range(nodes)]
        spot = {"capacity": "spot"}
        self.nodes += [Node(f"spot-{number}", spot, capacity="Spot") for number in range(nodes)]
        for node in self.nodes:
            self.server.create("nodes", node.body(now), "kubelet")
        self.idle_attempts: dict[int, int] = {}
        """The number of a trial's first attempts that do nothing at all; by trial number."""
        self.faults = faults or Faults()
        self.pulls: list[int] = []
        """Seconds that the next containers take to start; 0 by default."""
        self._rng = random.Random(seed)
        self._put = put_report
        self._milli_cores = milli_cores
        self._work = work
        self._controllers_alive = self._api_up = True
        self._done: dict[TrialKey, int] = {}

    def join(self, node: Node) -> None:
        """Add a node, which the scheduler looks at before all others."""
        self.nodes.insert(0, node)
        self.server.create("nodes", node.body(self.now), "kubelet")

    # -- time and weather ----------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Unix seconds."""
        return self.timeline.now

    @now.setter
    def now(self, now: int) -> None:
        self.timeline.now = now

    def advance(self, seconds: int) -> None:
        """Let the rest of the cluster work for a while."""
        self.timeline.run(self.now + seconds)

    @property
    def controlled(self) -> bool:
        """Return whether Job controller, scheduler and garbage collectors work."""
        return self._controllers_alive and self._api_up

    def cut(self, node: Node, *, off: bool) -> None:
        """Take a node's network away, or give it back."""
        if off:
            self._lose(node)
        node.silent = off
        self.meet()

    def _lose(self, node: Node) -> None:
        """Note when a node was last heard of; the node controller finds out a while later."""
        if node.reachable:
            node.cut_at = self.now
            for pod in self.pods_on(node):
                pod.cut = True
            self.timeline.after(_NODE_GRACE, lambda: self._look_after(node))

    def _look_after(self, node: Node) -> None:
        """Say in a node's conditions whether its kubelet reports, as the node controller does."""
        lost = not node.reachable and self.now >= node.cut_at + _NODE_GRACE
        body = self.server.named("nodes", node.name)
        if body is None or not self.controlled:
            return
        status = "Unknown" if lost else "True"
        conditions = with_condition(body["status"]["conditions"], "Ready", status, self.now)
        if conditions != body["status"]["conditions"]:
            self.server.replace("nodes", {**body, "status": {"conditions": conditions}}, "node-controller")

    def kill(self, node: Node) -> None:
        """Let a node die with all that runs on it; nobody is notified."""
        self._lose(node)
        node.dead = True
        for pod in self.pods_on(node):
            self._end(pod)
        for pod in list(self.live.values()):
            self.touch(pod)

    def set_clock(self, node: Node, ahead: int, *, always: bool = False) -> None:
        """Step a node's clock, so that it is `ahead` of the control plane's by so many seconds.

        `always`: what was stamped before is off by the same, as if the clock had never been right.
        """
        step, node.clock = ahead - node.clock, ahead
        for pod in self.pods_on(node):
            if always and pod.acknowledged is not None:
                pod.acknowledged += step
                pod.container_stamp += step
                self._report(pod)
            self.touch(pod)

    def pods_on(self, node: Node) -> list[Pod]:
        """Return the pods that run on a node."""
        return [pod for pod in self.live.values() if pod.node is node and pod.running]

    def hears(self, pod: Pod) -> bool:
        """Return whether the API server and a pod's kubelet hear of each other."""
        return self._api_up and pod.reachable

    def meet(self) -> None:
        """Let those that can hear of each other again exchange what they missed."""
        for node in self.nodes:
            self._look_after(node)
        for pod in list(self.live.values()):
            if pod.node is not None and self.hears(pod):
                self._listen(pod)
                self._report(pod)
        for pod in list(self.live.values()):
            self.touch(pod)
        self.witness.changed()

    # -- pods come and change ------------------------------------------------------------------------------

    def take(self, body: Body, job: SimulatedJob) -> Pod:
        """Take in a new pod."""
        meta, spec = body["metadata"], body["spec"]
        container = spec["containers"][0]
        requests = container.get("resources", {}).get("requests", {})
        pod = Pod(
            uid=meta["uid"],
            name=meta["name"],
            job=job,
            cpu=quantity.milli(requests.get("cpu", "0")),
            gpus=int(requests.get(WHOLE_GPU, 0)),
            work=job.assignment,
            created=self.now,
            grace=spec.get("terminationGracePeriodSeconds", 30),
            longest=spec.get("activeDeadlineSeconds"),
            heard=_granted(body),
            sidecar=len(spec["containers"]) > 1,
            ip=f"10.0.0.{len(self.pods) + 1}",
            body=body,
        )
        for name in job.faults:
            setattr(pod, name, True)
        if self.faults.hostile and self._rng.random() < self.faults.hostile:
            pod.hostile = True
        if self.faults.error:
            seconds = math.ceil(math.log(1 - self._rng.random()) / math.log1p(-self.faults.error / 100))
            pod.fault = (max(1, seconds), Ending(_FAILED, "a fault"))
        self.pods[pod.uid] = self.live[pod.uid] = pod
        job.pods.append(pod)
        self.witness.made(pod)
        self.touch(pod)
        return pod

    def changed(self, pod: Pod, body: Body | None) -> None:
        """The API server has another version of a pod, or none any more."""
        if pod.ended is not None:
            if body is None:
                self.live.pop(pod.uid, None)
            return
        if pod.scheduled is None and (body is None or is_over(body)):
            self._end(pod)
            return
        if self.hears(pod):
            self._listen(pod)
        self.touch(pod)

    def _listen(self, pod: Pod) -> None:
        """Let the kubelet and the guard hear what the API server has."""
        body = self.server.objects["pods"].get(pod.uid)
        if body is None:
            pod.deleting = True
            return
        pod.heard = max(pod.heard, _granted(body)) if _granted(body) else pod.heard
        pod.longest = body["spec"].get("activeDeadlineSeconds")
        pod.deleting = pod.deleting or "deletionTimestamp" in body["metadata"]
        if is_over(body):
            pod.deleting = True  # the control plane gave it up

    def touch(self, pod: Pod) -> None:
        """See to it that what happens next to the pod happens."""
        if pod.ended is not None:
            return
        due = min(self._possible(pod), key=lambda one: one[0], default=None)
        pod.turn += 1
        if due is None:
            return
        turn = pod.turn

        def happen() -> None:
            if pod.turn == turn:
                self._tick(pod)

        self.timeline.at(due[0], happen)

    def _tick(self, pod: Pod) -> None:
        """Let everything that is due happen to one pod."""
        while pod.ended is None:
            due = min(self._possible(pod), key=lambda one: one[0], default=None)
            if due is None or due[0] > self.now:
                break
            self._happen(pod, due[1])
        self.touch(pod)

    def _possible(self, pod: Pod) -> Iterator[tuple[int, Cause]]:
        if pod.scheduled is None:
            if self.controlled and self.room(pod) is not None:
                yield self.now, "Bind"
        elif pod.began is None:
            if self.hears(pod):
                yield self.now, "Acknowledge"
        elif pod.signalled is not None:
            # A guard that ends its worker already kills it when it would have, whatever signal comes.
            guarded = pod.signalled if pod.guarded is None or pod.sidecar else pod.guarded
            yield max(self.now, min(guarded, pod.signalled) + pod.dying), "End"
        else:
            yield from self._on_node(pod, pod.began)

    def _on_node(self, pod: Pod, began: int) -> Iterator[tuple[int, Cause]]:
        if pod.deleting:
            yield self.now, "Signal"
        if pod.longest is not None and pod.acknowledged is not None and pod.node is not None:
            # The kubelet compares its own clock with what it stamped; a step of the clock counts.
            yield max(self.now, pod.acknowledged + pod.longest - pod.node.clock), "Deadline"
        if pod.over is not None:
            if not pod.sidecar:
                yield pod.over, "Sidecar"
            return
        if pod.container is None:
            yield began + pod.pull, "Container"
            return
        if pod.guarded is not None:
            yield pod.guarded + pod.dying, "Guarded"
            return
        if pod.work is not None and not pod.hostile:
            # It counts from when the kubelet set up the pod's volumes, which is before the image is pulled.
            yield began + pod.heard, "Guard"
        if pod.fault is not None:
            yield pod.container + pod.fault[0], "Fault"
        cut = pod.node is not None and pod.node.silent
        if pod.work is not None and not self.is_idle(pod) and not cut:
            yield pod.container + max(1, self._work(pod.work) - pod.work_before), "Done"

    def _happen(self, pod: Pod, cause: Cause) -> None:  # noqa: C901, PLR0912  (one row a cause)
        match cause:
            case "Bind":
                self._bind(pod)
            case "Acknowledge":
                pod.began, pod.acknowledged = self.now, self._by_node(pod)
                self._listen(pod)
                self._report(pod)
            case "Container":
                pod.container, pod.container_stamp = self.now, self._by_node(pod)
                if pod.key is not None:
                    pod.work_before = self._done.get(pod.key.of_trial, 0)
                self._report(pod)
            case "Signal":
                pod.signalled = self.now
            case "Deadline":
                pod.signalled, pod.by_deadline = self.now, True
            case "Guard":
                pod.guarded = self.now
            case "Guarded":
                # The guard ends the trainer's container only; the pod runs while a sidecar does.
                self._trainer_ends(pod, self._killed(pod))
            case "End":
                if pod.container is not None and pod.over is None:
                    self._trainer_ends(pod, self._killed(pod))
                if pod.ended is None:
                    self._end(pod)
            case "Fault":
                self._trainer_ends(pod, pod.fault[1] if pod.fault else Ending(_FAILED))
            case "Done":
                self._trainer_ends(pod, self._finished(pod.work))
            case "Sidecar":
                self._end(pod)

    def _trainer_ends(self, pod: Pod, how: Ending) -> None:
        pod.exit = how
        pod.over, pod.over_stamp = self.now, self._by_node(pod)
        if pod.sidecar and pod.signalled is None:
            self._report(pod)
        else:
            self._end(pod)

    def _finished(self, work: Assignment | None) -> Ending:
        """Leave the report, and its digest as the container's last message."""
        if work is None:
            return Ending(contract.EXIT_FINISHED)
        left = report(work)
        if self._rng.random() >= self.faults.no_report:
            self._put(f"{work.artifacts}/{report_key(work.attempt)}", left)
        return Ending(contract.EXIT_FINISHED, contract.digest_line(left))

    def _killed(self, pod: Pod) -> Ending:
        """Return how a trainer that has to stop ends."""
        if pod.hostile or pod.work is None or (pod.stubborn and pod.guarded is None):
            return Ending(_KILLED)
        if pod.stubborn:
            return Ending(_FAILED)
        return Ending(contract.EXIT_SUSPENDED, LEASE_OVER if pod.guarded is not None else "")

    def _by_node(self, pod: Pod) -> int:
        return self.now + (pod.node.clock if pod.node else 0)

    # -- scheduling ----------------------------------------------------------------------------------------

    def room(self, pod: Pod) -> Node | None:
        """Return a node that a pod may be bound to."""
        body = self.server.objects["pods"].get(pod.uid)
        if body is None or "deletionTimestamp" in body["metadata"] or is_over(body):
            return None
        selector = (body["spec"].get("nodeSelector") or {}).items()
        for node in self.nodes:
            # Spot nodes are tainted: they take what selects them, and nothing else.
            fits = selector <= node.labels.items() and (node.capacity == "OnDemand" or bool(selector))
            if node.silent or node.dead or not fits:
                continue
            others = self.pods_on(node)
            cpu, gpus = sum(other.cpu for other in others), sum(other.gpus for other in others)
            if cpu + pod.cpu <= self._milli_cores and gpus + pod.gpus <= node.gpus:
                return node
        return None

    def _bind(self, pod: Pod) -> None:
        node, body = self.room(pod), self.server.objects["pods"][pod.uid]
        if node is None:
            return
        pod.scheduled, pod.node = self.now, node
        pod.pull = self.pulls.pop(0) if self.pulls else 0
        status = body["status"]
        conditions = with_condition(status.get("conditions", ()), "PodScheduled", "True", self.now)
        spec = {**body["spec"], "nodeName": node.name}
        bound = {**body, "spec": spec}
        self.server.replace("pods", bound, "scheduler")
        self.server.replace(
            "pods", {**bound, "status": {**status, "conditions": conditions}}, "scheduler", "status"
        )

    # -- what a kubelet says -------------------------------------------------------------------------------

    def _end(self, pod: Pod) -> None:
        if pod.ended is not None:
            return
        pod.ended, pod.ended_stamp = self.now, self._by_node(pod)
        if pod.container is not None and pod.over is None:
            pod.over, pod.over_stamp = pod.ended, pod.ended_stamp
        if pod.container is not None and not self.is_idle(pod) and pod.reachable and pod.key is not None:
            ran = (self.now if pod.over is None else pod.over) - pod.container
            self._done[pod.key.of_trial] = max(self._done.get(pod.key.of_trial, 0), pod.work_before + ran)
        self.witness.ended(pod)
        if pod.scheduled is None:
            self.live.pop(pod.uid, None)
        elif self.hears(pod):
            self._report(pod)
        for other in list(self.live.values()):
            if other.scheduled is None:
                self.touch(other)

    def _report(self, pod: Pod) -> None:
        """Write a pod's status, where the API server hears its kubelet and has the pod."""
        if not self.hears(pod) or pod.began is None:
            return
        body = self.server.objects["pods"].get(pod.uid)
        if pod.ended is not None:
            self.live.pop(pod.uid, None)
        if body is None or is_over(body):
            return
        if pod.ended is not None and not pod.given_up:
            pod.reported_at = self.now
        status = _status(pod, body["status"])
        if status != body["status"]:
            self.server.replace("pods", {**body, "status": status}, "kubelet", "status")
            self.witness.changed()
        there = self.server.named("pods", pod.name) is not None
        if pod.ended is not None and there and "deletionTimestamp" in body["metadata"]:
            self.server.delete("pods", pod.name, "kubelet", grace=0)

    def is_idle(self, pod: Pod) -> bool:
        """Return whether an attempt does nothing at all."""
        return pod.key is not None and pod.key.attempt < self.idle_attempts.get(pod.key.trial, 0)


def _status(pod: Pod, old: Body) -> Body:
    """Return a pod's status as its kubelet has it. Its times are of the node's clock."""
    began = stamp(pod.acknowledged or 0)
    names = ("trainer", "sidecar") if pod.sidecar else ("trainer",)
    containers = [{"name": name, "state": _state(pod, name)} for name in names]
    phase, ready = "Pending", "False"
    if pod.ended is not None:
        clean = pod.exit is not None and pod.exit.code == 0 and not pod.by_deadline
        phase = "Succeeded" if clean else "Failed"
    elif pod.container is not None:
        phase, ready = "Running", "True" if pod.over is None else "False"
    at = pod.ended_stamp if pod.ended is not None else pod.container_stamp or pod.acknowledged or 0
    conditions = with_condition(old.get("conditions", ()), "Ready", ready, at)
    found: Body = {
        **old,
        "phase": phase,
        "startTime": began,
        "podIP": pod.ip,
        "conditions": conditions,
        "containerStatuses": containers,
    }
    if pod.by_deadline and pod.ended is not None:
        found |= {
            "reason": "DeadlineExceeded",
            "message": "Pod was active on the node longer than the specified deadline",
        }
    return found


def _state(pod: Pod, name: str) -> Body:
    begun = stamp(pod.container_stamp)
    if pod.container is None and pod.ended is not None:
        # Its kubelet finds no container, and so knows no time of it.
        return {"terminated": {"exitCode": _KILLED, "reason": "ContainerStatusUnknown"}}
    if pod.container is None:
        return {"waiting": {"reason": "ContainerCreating"}}
    if name == "sidecar":
        if pod.ended is None:
            return {"running": {"startedAt": begun}}
        return {
            "terminated": {
                "exitCode": 0,
                "reason": "Completed",
                "startedAt": begun,
                "finishedAt": stamp(pod.ended_stamp),
            }
        }
    if pod.over is None:
        return {"running": {"startedAt": begun}}
    # A container that went down with its node has no exit code of its own.
    how = pod.exit or Ending(_UNKNOWN)
    reasons = {0: "Completed", _UNKNOWN: "Unknown"}
    reason = "OOMKilled" if how.out_of_memory else reasons.get(how.code, "Error")
    found = {"exitCode": how.code, "reason": reason, "startedAt": begun, "finishedAt": stamp(pod.over_stamp)}
    return {"terminated": found | ({"message": how.message} if how.message else {})}


def _granted(body: Body) -> int:
    text = body["metadata"].get("annotations", {}).get(GRANT_ANNOTATION, "")
    return int(text) if text.isdigit() else 0
