"""The world of the walk: one small study, whose operators make a pass when they are let."""

import hashlib
import json
from typing import Any

from comptroller.simulation.costs import SetPrices
from comptroller.simulation.people import CreateStudy
from comptroller.simulation.process import Process, Stop
from comptroller.simulation.run import Run
from comptroller.simulation.schedule import Schedule

_START = 1_800_014_400
_IDLE = 30
"""Seconds that pass where nothing is due."""
_UNSEEN = frozenset({"resourceVersion", "uid", "creationTimestamp", "managedFields"})
"""Parts of metadata that tell states apart which are the same."""


class Stepped(Process):
    """An operator that makes a pass when it is let."""

    def _pass_in(self, seconds: int) -> None:
        if not isinstance(self._run, Small) or self._run.by_itself:
            super()._pass_in(seconds)

    passes = 0
    """Those that it was let make: what it remembers is that of its first one, or of more."""

    def step(self) -> None:
        """Make one pass, whole."""
        self.passes += 1
        self._due = self._run.cluster.now
        self._begin(self._due)


ONE_TRIAL = CreateStudy(0, 1, ceiling="1.00", trials=1, parallel=1, epochs=(1,), lease=60, retries=0)


class Small(Run):
    """One study, and operators that make a pass when they are let."""

    process = Stepped

    def __init__(self, study: CreateStudy = ONE_TRIAL) -> None:
        """Apply prices and the study, and start an operator."""
        super().__init__(Schedule(seed=0, start=_START, events=(), horizon=1), keep_trace=True)
        self.by_itself = False
        """Operators pass when they would, and not when they are let."""
        self._happen(SetPrices(0))
        self._happen(study)
        self.start_operator("a")

    def passed(self, passes: int) -> "Small":
        """Let the operator make so many passes, two seconds apart, and return this."""
        for _ in range(passes):
            self.let("a")
            self.cluster.advance(2)
        return self

    @property
    def crowded(self) -> bool:
        """Passes are whole, so that nobody waits for anybody."""
        return False

    def let(self, slot: str) -> bool:
        """Let an operator make a pass; `False` where it is dead."""
        process = self.processes.get(slot)
        if isinstance(process, Stepped):
            process.step()
        return process is not None

    def passes_on(self) -> bool:
        """Let time go on to the next event."""
        timeline = self.cluster.timeline
        due = timeline.next
        timeline.run(self.cluster.now + _IDLE if due is None else max(due, self.cluster.now + 1))
        return True

    def die(self, process: Process, down: int) -> None:
        """Die, and let a successor be there at once."""
        super().die(process, down)
        self.start_operator(process.slot)

    def dies(self, writes: int) -> bool:
        """Let the first operator die at one of its next points, in a pass."""
        process = self.processes.get("a")
        if process is None:
            return False
        process.stop_at(Stop(writes))
        self.let("a")
        still = self.processes.get("a") is process
        process.calm()
        return not still

    def second(self) -> bool:
        """Let a second operator make a pass, which is there from its first one on."""
        self.start_operator("b")
        return self.let("b")

    def stale(self, slot: str, kind: str) -> bool:
        """Let a watch stand still, or catch up."""
        process = self.processes.get(slot)
        if process is None:
            return False
        if kind in process.watches.still:
            process.watches.thaw((kind,))
        else:
            process.watches.freeze((kind,))
        return True

    def rest(self) -> None:
        """Let everybody go on by themselves, until all is at rest."""
        self.by_itself = True
        self.stop_operator("b")
        self.stop_operator("a")
        self._calm_down()
        self._converge()

    def state(self) -> bytes:
        """Return a digest of all that decides what comes next."""
        cluster = self.cluster
        pods = [
            (p.name, p.scheduled, p.heard, p.longest, p.container, p.deleting, p.signalled, p.over, p.ended)
            for p in cluster.pods.values()
        ]
        books = [
            (key, vars(held)["closed"] is None, held.granted)
            for key, held in self.oracle.fold.attempts.items()
        ]
        accounts = {name: (one.spent, one.held) for name, one in self.oracle.fold.accounts.items()}
        watches = {slot: one.watches.seen() for slot, one in sorted(self.processes.items())}
        bodies = {kind: list(own.values()) for kind, own in cluster.server.objects.items()}
        seen = {
            slot: {kind: list(map(_plain, own)) for kind, own in each.items()}
            for slot, each in watches.items()
        }
        operators = [
            (slot, min(one.passes, 2), one.armed, self.skews.get(slot))
            for slot, one in sorted(self.processes.items())
            if isinstance(one, Stepped)
        ]
        faults = [self.next_jobs, self.bad_reports, self.store_away, self.watches_last, cluster.pulls]
        everything = [
            cluster.now,
            cluster.timeline.due,
            (cluster.api_up, cluster.controllers_alive, cluster.prices),
            [vars(node) for node in cluster.nodes],
            operators,
            faults,
            pods,
            books,
            accounts,
            seen,
            {k: list(map(_plain, v)) for k, v in bodies.items()},
        ]
        return hashlib.sha256(json.dumps(everything, default=str, sort_keys=True).encode()).digest()[:12]


def _plain(body: dict[str, Any]) -> dict[str, Any]:
    meta = {name: value for name, value in body["metadata"].items() if name not in _UNSEEN}
    return {**body, "metadata": meta}
