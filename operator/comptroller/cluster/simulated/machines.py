"""What works without an operator: Job controller, scheduler, kubelets, guards and trainers, on a few nodes.

Every Job says when it next changes by itself, and time is asked for then; so a simulation costs what happens
in it and not the seconds that pass.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from comptroller.cluster.simulated.job import Cause, Node, SimulatedJob
from comptroller.cluster.simulated.timeline import Timeline
from comptroller.cluster.simulated.trainer import Work, report, seconds_of_work
from comptroller.world import Exit
from comptroller_api import contract
from comptroller_api.contract import Assignment, report_key

_START = 1
"""Seconds until the Job controller has seen a new Job."""
_KILLED, _FAILED = 137, 1


@dataclass
class Faults:
    """How often things go wrong, each a probability."""

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
        """A Job that will run a pod was created."""

    def ended(self, job: SimulatedJob) -> None:
        """A pod has truly ended, whoever may know."""

    def changed(self) -> None:
        """The API server has something new for those who watch."""

    def say(self, who: str, what: str) -> None:
        """Something that a person would want to read happened."""


class Machines:
    """The Jobs of a cluster and whatever makes them run and end. Times are the control plane's."""

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
        """Nothing runs yet."""
        self.timeline = Timeline(now)
        self.witness = Witness()
        self.jobs: dict[str, SimulatedJob] = {}
        self.orphans: list[SimulatedJob] = []
        """Their Jobs are gone from the API server and their pods may run."""
        self.launches: list[str] = []
        self.nodes = [Node(f"node-{number}") for number in range(nodes)]
        self.idle_attempts: dict[int, int] = {}
        """By trial number: how many of its first attempts do nothing at all."""
        self.faults = faults or Faults()
        self.pulls: list[int] = []
        """Seconds that the next containers take to start; 0 where nothing is said."""
        self._rng = random.Random(seed)
        self._put = put_report
        self._milli_cores = milli_cores
        self._work = work
        self._controllers_alive = self._api_up = True
        self._done: dict[tuple[str, int], int] = {}

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
    def controllers_alive(self) -> bool:
        """The Job controller and the scheduler work."""
        return self._controllers_alive

    @controllers_alive.setter
    def controllers_alive(self, alive: bool) -> None:
        self._controllers_alive = alive
        self._touch_all()

    @property
    def api_up(self) -> bool:
        """The API server answers; without it nobody hears of anybody, and pods run on."""
        return self._api_up

    @api_up.setter
    def api_up(self, up: bool) -> None:
        self._api_up = up
        self._meet()

    def cut(self, node: Node, *, off: bool) -> None:
        """Take a node's network away, or give it back."""
        if off and node.reachable:
            node.cut_at = self.now
        node.silent = off
        self._meet()

    def kill(self, node: Node) -> None:
        """Let a node die with all that runs on it; nobody is told."""
        if node.reachable:
            node.cut_at = self.now
        node.dead = True
        for job in self._pods_on(node):
            self._end(job, Exit())

    def collect(self, node: Node) -> None:
        """Take a node's object away: the pods that nobody heard the end of are marked as failed."""
        for job in self._pods_of(node):
            if not job.reported and job.collected is None:
                job.collected, job.disruption = self.now, "DeletionByPodGC"
        self.witness.changed()

    def evict(self, node: Node) -> None:
        """Delete the pods of a node that nobody hears of; it will know once it is back."""
        if node.reachable or not self._controlled():
            return
        for job in self._pods_of(node):
            if not job.reported and job.collected is None:
                self.preempt(job, "DeletionByTaintManager")
        self.witness.changed()

    def _pods_of(self, node: Node) -> Iterator[SimulatedJob]:
        return (job for job in [*self.jobs.values(), *self.orphans] if job.node is node)

    def _pods_on(self, node: Node) -> list[SimulatedJob]:
        return [job for job in self._pods_of(node) if job.running]

    def _reachable(self, job: SimulatedJob) -> bool:
        return self._api_up and job.reachable

    def _controlled(self) -> bool:
        return self._controllers_alive and self._api_up

    def _meet(self) -> None:
        """Those who can hear of each other again exchange what they missed."""
        for job in [*self.jobs.values(), *self.orphans]:
            if self._reachable(job):
                job.heard = max(job.heard, job.granted)
                if not job.reported and job.ended is not None and job.collected is None:
                    job.reported, job.reported_at = True, self.now
        self._touch_all()
        self.witness.changed()

    # -- what becomes of a Job -----------------------------------------------------------------------------

    def start(self, job: SimulatedJob) -> None:
        """Take in a new Job."""
        self.jobs[job.name] = job
        if job.assignment is None:
            return
        self.launches.append(job.name)
        job.heard = job.granted
        if job.fault is None and self.faults.error:
            seconds = math.ceil(math.log(1 - self._rng.random()) / math.log1p(-self.faults.error / 100))
            job.fault = (max(1, seconds), Exit(code=_FAILED, message="a fault"))
        self.witness.launched(job)
        self.touch(job)

    def forget(self, job: SimulatedJob) -> None:
        """Its object is gone from the API server, and its pod goes with it."""
        del self.jobs[job.name]
        if job.running:
            self.orphans.append(job)
            job.to_end = True
            self.touch(job)

    def preempt(self, job: SimulatedJob, reason: str) -> None:
        """Let somebody evict its pod, properly."""
        job.disruption, job.to_end = reason, True
        self.touch(job)

    def touch(self, job: SimulatedJob) -> None:
        """See to it that what happens next to the Job happens."""
        if job.ended is not None or job.assignment is None:
            return
        due = self._due(job, job.assignment)
        job.turn += 1
        if due is not None:
            self._at(job, job.assignment, due[0])

    def _at(self, job: SimulatedJob, work: Assignment, when: int) -> None:
        turn = job.turn

        def happen() -> None:
            if job.turn == turn:
                self._tick(job, work)

        self.timeline.at(when, happen)

    def _touch_all(self) -> None:
        for job in [*self.jobs.values(), *self.orphans]:
            self.touch(job)

    def _tick(self, job: SimulatedJob, work: Assignment) -> None:
        """Let everything that is due happen to one Job."""
        while job.ended is None and (due := self._due(job, work)) is not None:
            when, cause = due
            if when > self.now:
                self.touch(job)
                return
            self._happen(job, work, cause)

    def _due(self, job: SimulatedJob, work: Assignment) -> tuple[int, Cause] | None:
        """What happens next and when; of one moment, the first in this order."""
        return min(self._possible(job, work), key=lambda due: due[0], default=None)

    def _possible(self, job: SimulatedJob, work: Assignment) -> Iterator[tuple[int, Cause]]:
        if job.signalled is not None:
            yield job.signalled + job.grace, "End"
            return
        if job.started is None:
            if self._controlled() and not job.deleted and job.name in self.jobs:
                yield job.created + _START, "Start"
            return
        if not job.to_end and self._controlled():
            yield job.started + job.deadline, "Deadline"
        if job.scheduled is None:
            if self._controlled() and self._room(job) is not None:
                yield self.now, "Bind"
        else:
            yield from self._on_node(job, work, job.scheduled)

    def _on_node(self, job: SimulatedJob, work: Assignment, scheduled: int) -> Iterator[tuple[int, Cause]]:
        if job.to_end and self._reachable(job):
            yield self.now, "Signal"
        yield scheduled + job.longest, "Kubelet"
        if job.container is None:
            yield scheduled + job.pull, "Container"
            return
        if not job.hostile:
            # It counts from when the kubelet set up the pod's volumes, which is before the image is pulled.
            yield scheduled + job.heard, "Guard"
        if job.fault is not None:
            yield job.container + job.fault[0], "Fault"
        cut = job.node is not None and job.node.silent
        if not self._idle(job) and not cut:
            yield job.container + max(1, self._work(work) - job.work_before), "Done"

    def _happen(self, job: SimulatedJob, work: Assignment, cause: Cause) -> None:  # noqa: C901  (one row a cause)
        match cause:
            case "Start":
                job.started = self.now
                self.witness.changed()
            case "Bind":
                job.scheduled, job.node = self.now, self._room(job)
                job.pull = self.pulls.pop(0) if self.pulls else 0
                self.witness.changed()
            case "Container":
                job.container = self.now
                job.work_before = self._done.get(job.key[:2], 0)
            case "Deadline":
                job.to_end, job.by_deadline = True, True
                if job.scheduled is None:
                    self._end(job, Exit(deadline=True))
            case "Signal":
                job.signalled = self.now
            case "Guard" | "Kubelet":
                job.signalled, job.by_deadline, job.by_guard = self.now, True, cause == "Guard"
            case "End":
                self._end(job, self._exit(job))
            case "Fault":
                self._end(job, job.fault[1] if job.fault else Exit())
            case "Done":
                left = report(work)
                if self._rng.random() >= self.faults.no_report:
                    self._put(f"{work.artifacts}/{report_key(work.attempt)}", left)
                digest = contract.report_digest(contract.digest_line(left))
                self._end(job, Exit(code=contract.EXIT_FINISHED, report=digest))

    def _room(self, job: SimulatedJob) -> Node | None:
        for node in self.nodes:
            if node.silent or node.dead:
                continue
            busy = sum(other.cpu for other in self._pods_on(node))
            if busy + job.cpu <= self._milli_cores:
                return node
        return None

    def _exit(self, job: SimulatedJob) -> Exit:
        code: int | None = contract.EXIT_SUSPENDED
        if job.container is None:
            code = None
        elif job.hostile or (job.stubborn and not job.by_guard):
            code = _KILLED
        elif job.stubborn:
            code = _FAILED
        return Exit(code=code, deadline=job.by_deadline, disruption=job.disruption)

    def _idle(self, job: SimulatedJob) -> bool:
        return job.key[2] < self.idle_attempts.get(job.key[1], 0)

    def _end(self, job: SimulatedJob, how: Exit) -> None:
        job.ended, job.exit, job.reported, job.reported_at = self.now, how, self._reachable(job), self.now
        if job.container is not None and not self._idle(job) and job.reachable:
            self._done[job.key[:2]] = job.work_before + self.now - job.container
        self.witness.ended(job)
        if job.reported:
            self.witness.changed()
        for other in list(self.jobs.values()):
            if other.started is not None and other.scheduled is None:
                self.touch(other)
