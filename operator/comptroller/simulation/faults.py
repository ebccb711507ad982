"""Faults of operators, the API server and nodes, apart from what people do."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comptroller.cluster.simulated import Ending, Kind
from comptroller.simulation.process import Process, Stop

if TYPE_CHECKING:
    from comptroller.simulation.run import Run


def operators(run: "Run", slot: str) -> Iterator[Process]:
    """Yield the operator in a slot, where one is alive."""
    if slot in run.processes:
        yield run.processes[slot]


@dataclass(frozen=True)
class Crash:
    """An operator dies at one of its next steps, and another is started later."""

    at: int
    slot: str
    points: int
    down: int

    def __str__(self) -> str:
        return f"operator {self.slot} will die {self.points} points from here, for {self.down}s"

    def happen(self, run: "Run") -> None:
        """Arm it."""
        for process in operators(run, self.slot):
            process.stop_at(Stop(self.points, down=self.down))


@dataclass(frozen=True)
class StandStill:
    """An operator's machine stands still in the middle of something."""

    at: int
    slot: str
    points: int
    seconds: int

    def __str__(self) -> str:
        return f"operator {self.slot} will stand still for {self.seconds}s, {self.points} points from here"

    def happen(self, run: "Run") -> None:
        """Arm it."""
        for process in operators(run, self.slot):
            process.stop_at(Stop(self.points, stand=self.seconds))


@dataclass(frozen=True)
class SecondOperator:
    """Another operator is alive for a while."""

    at: int
    seconds: int

    def __str__(self) -> str:
        return f"a second operator is there for {self.seconds}s"

    def happen(self, run: "Run") -> None:
        """Start it."""
        run.start_operator("b")
        run.cluster.timeline.after(self.seconds, lambda: run.stop_operator("b"))


@dataclass(frozen=True)
class Skew:
    """An operator's clock jumps."""

    at: int
    slot: str
    seconds: int

    def __str__(self) -> str:
        return f"the clock of operator {self.slot} is {self.seconds:+}s off"

    def happen(self, run: "Run") -> None:
        """Set it."""
        run.skews[self.slot] = self.seconds


@dataclass(frozen=True)
class LostAction:
    """The API server's answer to an operator's next actions is lost."""

    at: int
    slot: str
    effect: bool
    count: int = 1

    def __str__(self) -> str:
        how = "after" if self.effect else "before"
        return f"the next {self.count} actions of operator {self.slot} fail {how} their effect"

    def happen(self, run: "Run") -> None:
        """Arm it."""
        for process in operators(run, self.slot):
            process.lost_actions += [self.effect] * self.count


@dataclass(frozen=True)
class ApiAway:
    """The API server is away: no watch, no action, no controller, no word from a kubelet."""

    at: int
    seconds: int
    watches_last: bool
    """Operators go on with what they saw last."""

    def __str__(self) -> str:
        how = "operators go on with what they saw last" if self.watches_last else "operators see nothing"
        return f"the API server is away for {self.seconds}s; {how}"

    def happen(self, run: "Run") -> None:
        """Take it away."""
        run.watches_last = self.watches_last
        for process in run.processes.values():
            process.watches.freeze()
        run.cluster.api_up = False

        def back() -> None:
            for process in run.processes.values():
                process.watches.thaw()
            run.cluster.api_up = True

        run.cluster.timeline.after(self.seconds, back)


@dataclass(frozen=True)
class Stale:
    """A fault in which some of an operator's watches bring nothing new for a while."""

    at: int
    slot: str
    kinds: tuple[Kind, ...]
    seconds: int

    def __str__(self) -> str:
        return f"operator {self.slot} sees {', '.join(self.kinds)} as they are now, for {self.seconds}s"

    def happen(self, run: "Run") -> None:
        """Freeze them."""
        for process in operators(run, self.slot):
            process.watches.freeze(self.kinds)

            def back(process: Process = process) -> None:
                process.watches.thaw(self.kinds)
                process.wake()

            run.cluster.timeline.after(self.seconds, back)


@dataclass(frozen=True)
class ControllersDown:
    """The Job controller and the scheduler do not work."""

    at: int
    seconds: int

    def __str__(self) -> str:
        return f"Job controller and scheduler are down for {self.seconds}s"

    def happen(self, run: "Run") -> None:
        """Take them away."""

        def back() -> None:
            run.cluster.controllers_alive = True

        run.cluster.controllers_alive = False
        run.cluster.timeline.after(self.seconds, back)


_EVICTED_AFTER = 340
"""Seconds until a node counts as lost, and then those for which its pods tolerate that."""


@dataclass(frozen=True)
class NodeLost:
    """A node is lost; perhaps it died, perhaps it comes back, perhaps its object goes."""

    at: int
    node: int
    seconds: int | None
    """The seconds after which it comes back; `None`: never."""
    dead: bool = False
    collected: int | None = None
    """Seconds after which its object goes, and with it all hope for its pods."""

    def __str__(self) -> str:
        how = "dies" if self.dead else "is cut off"
        back = "forever" if self.seconds is None else f"for {self.seconds}s"
        gone = "" if self.collected is None else f", its object goes after {self.collected}s"
        return f"node {self.node} {how} {back}{gone}"

    def happen(self, run: "Run") -> None:
        """Cut it off."""
        cluster = run.cluster
        node = cluster.nodes[self.node % len(cluster.nodes)]
        if node.silent or any(other.forever for other in cluster.nodes):
            return
        node.forever = self.seconds is None
        cluster.cut(node, off=True)
        if self.dead:
            cluster.kill(node)
        if self.seconds is None:
            cluster.timeline.after(_EVICTED_AFTER, lambda: cluster.evict(node))
        if self.collected is not None:
            cluster.timeline.after(self.collected, lambda: cluster.collect(node))
        if self.seconds is not None:

            def back() -> None:
                node.dead = False
                cluster.cut(node, off=False)

            cluster.timeline.after(self.seconds, back)


@dataclass(frozen=True)
class NodeClock:
    """A node's clock is not the control plane's: what its kubelet stamps is off, all by the same."""

    at: int
    node: int
    seconds: int

    def __str__(self) -> str:
        return f"the clock of node {self.node} is {self.seconds:+}s off"

    def happen(self, run: "Run") -> None:
        """Set it, as if it had always been so."""
        node = run.cluster.nodes[self.node % len(run.cluster.nodes)]
        run.cluster.set_clock(node, self.seconds, always=True)


@dataclass(frozen=True)
class PodFault:
    """Something happens to a running pod."""

    at: int
    pick: int
    kind: str
    """`error`, `oom`, `diverged`, or `preempted`."""

    def __str__(self) -> str:
        return f"running pod {self.pick}: {self.kind}"

    def happen(self, run: "Run") -> None:
        """Let it happen to one of those that run."""
        running = sorted((pod for pod in run.cluster.live.values() if pod.container), key=lambda p: p.name)
        running = [pod for pod in running if pod.running and pod.signalled is None and pod.over is None]
        if not running:
            return
        pod = running[self.pick % len(running)]
        if self.kind == "preempted":
            run.cluster.preempt(pod, "PreemptionByScheduler")
            return
        how = {
            "error": Ending(1, "a fault"),
            "oom": Ending(137, out_of_memory=True),
            "diverged": Ending(65, "the loss is not finite"),
        }[self.kind]
        pod.fault = (run.cluster.now - (pod.container or 0), how)
        run.cluster.touch(pod)


@dataclass(frozen=True)
class NextJob:
    """Something is wrong with the next Job that is launched."""

    at: int
    field: str
    """`stubborn` (its worker ignores SIGTERM) or `hostile` (so does its image, which has no guard)."""

    def __str__(self) -> str:
        return f"the next pod is {self.field}"

    def happen(self, run: "Run") -> None:
        """Arm it."""
        run.next_jobs.append(self.field)


@dataclass(frozen=True)
class SlowPull:
    """The next container takes long to start: its image is pulled."""

    at: int
    seconds: int

    def __str__(self) -> str:
        return f"the next container takes {self.seconds}s to start"

    def happen(self, run: "Run") -> None:
        """Arm it."""
        run.cluster.pulls.append(self.seconds)


@dataclass(frozen=True)
class BadReport:
    """The next report does not come to what it should."""

    at: int
    how: str
    """`lost`, `garbage` or `foreign`."""

    def __str__(self) -> str:
        return f"the next report is {self.how}"

    def happen(self, run: "Run") -> None:
        """Arm it."""
        run.bad_reports.append(self.how)
