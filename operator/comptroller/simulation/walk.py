"""An exhaustive walk: everything that can happen to one small study, in every order, to a stated depth.

A run draws one history of thousands of events; the walk takes every history of a few. From a state in which
an attempt runs, and from one in which no operator has seen its pod yet, each choice is tried: an operator
makes a pass, or dies at one of its writes; a second one does; watches stand still or catch up; time passes to
the next event; somebody patches or deletes a Job or a pod. The plan, the adapter and the code that reads
bodies are the real ones. A state that was seen before is not walked again, and from every last state the
world has to come to rest with everything paid for.

Each choice is tried in a fork of the process, which is a copy of the state that costs nothing to make.
"""

import gc
import hashlib
import json
import os
import pickle
import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from comptroller.simulation import tenants
from comptroller.simulation.costs import SetPrices
from comptroller.simulation.oracle import Violation
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

    def step(self) -> None:
        """Make one pass, whole."""
        self._due = self._run.cluster.now
        self._begin(self._due)


class Small(Run):
    """One study with one trial, and an attempt that runs."""

    process = Stepped

    def __init__(self, passes: int = 3) -> None:
        """Bring it to where its pod runs, and let an operator see it if there are three passes."""
        super().__init__(Schedule(seed=0, start=_START, events=(), horizon=1), keep_trace=True)
        self.by_itself = False
        """Operators pass when they would, and not when they are let."""
        study = CreateStudy(0, 1, ceiling="1.00", trials=1, parallel=1, epochs=(1,), lease=60, retries=0)
        self._happen(SetPrices(0))
        self._happen(study)
        self.start_operator("a")
        for _ in range(passes):
            self.let("a")
            self.cluster.advance(2)

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
        everything = [
            cluster.now,
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


STARTS: dict[tuple[str, ...], int] = {(): 3, ("unseen",): 2}
"""The passes before the first choice, by what a path begins with: after two, nobody has seen the pod."""


@dataclass
class Walked:
    """The result of a walk."""

    depth: int
    states: int = 0
    ends: int = 0
    """Last states, from each of which the world was let come to rest."""
    seconds: float = 0.0
    violations: list[tuple[tuple[str, ...], Violation]] = field(default_factory=list)
    """Each with the choices that led there."""


@dataclass
class _Part:
    """The findings of a fork."""

    seen: dict[bytes, int]
    ends: int
    violations: list[tuple[tuple[str, ...], Violation]]

    def add(self, other: "_Part") -> None:
        """Take in what another fork found."""
        for state, left in other.seen.items():
            self.seen[state] = max(left, self.seen.get(state, -1))
        self.ends += other.ends
        self.violations += other.violations


def walk(depth: int, jobs: int = 1, most: int = 10) -> Walked:
    """Try everything to a depth, in order; stop after so many violations.

    Args:
        depth: how many choices a history has.
        jobs: how many first choices are followed at a time.
        most: violations.
    """
    walked, began = Walked(depth), time.monotonic()
    for start, passes in STARTS.items():
        run = Small(passes)
        part = _Part({run.state(): depth}, 0, [])
        gc.freeze()  # what is there stays, and forks share it as long as nobody looks through it
        _spread(run, depth, part, most - len(walked.violations), jobs, start)
        walked.states += len(part.seen)
        walked.ends += part.ends
        walked.violations = [*walked.violations, *part.violations][:most]
    walked.seconds = time.monotonic() - began
    return walked


def _spread(run: Small, depth: int, part: _Part, most: int, jobs: int, start: tuple[str, ...]) -> None:
    """Follow the first choices side by side; each begins with the states that those before it found."""
    left, copies = list(CHOICES.items()), list[_Copy]()
    while copies or (left and len(part.violations) < most):
        while left and len(copies) < jobs and len(part.violations) < most:
            name, choice = left.pop(0)
            copies.append(
                _Copy(lambda c=choice, p=(*start, name): _try(run, c, depth - 1, p, part, most))  # type: ignore[misc]
            )
        done, _, _ = select.select(copies, [], [])
        for copy in done:
            copies.remove(copy)
            part.add(copy.found())


def _visit(run: Small, depth: int, path: tuple[str, ...], part: _Part, most: int) -> None:
    for name, choice in CHOICES.items():
        if len(part.violations) >= most:
            return
        part.add(
            _Copy(lambda c=choice, n=name: _try(run, c, depth - 1, (*path, n), part, most)).found()  # type: ignore[misc]
        )


def _try(
    run: Small, choice: Callable[[Small], bool], depth: int, path: tuple[str, ...], before: _Part, most: int
) -> _Part:
    """Make a choice, in a copy of the state, and all that may follow."""
    part = _Part({}, 0, [])
    if not choice(run):
        return part
    if not run.oracle.violations:
        state = run.state()
        if max(before.seen.get(state, -1), part.seen.get(state, -1)) >= depth:
            return part
        part.seen = {**before.seen, state: depth}
        if depth:
            _visit(run, depth, path, part, most - len(before.violations))
        else:
            run.rest()
            part.ends += 1
        part.seen = {key: left for key, left in part.seen.items() if before.seen.get(key) != left}
    if run.oracle.violations:
        part.violations.append((path, run.oracle.violations[0]))
    return part


class _Copy:
    """A copy of this process that makes a call."""

    def __init__(self, call: Callable[[], _Part]) -> None:
        """Fork, and make the call there."""
        self._pipe, theirs = os.pipe()
        self._process = os.fork()
        if self._process:
            os.close(theirs)
            return
        status = 1
        try:
            os.close(self._pipe)
            with os.fdopen(theirs, "wb") as pipe:
                pickle.dump(call(), pipe)
            status = 0
        finally:
            os._exit(status)

    def fileno(self) -> int:
        """Return what can be read from once the call has been made."""
        return self._pipe

    def found(self) -> _Part:
        """Return what the call returned, once it has."""
        with os.fdopen(self._pipe, "rb") as pipe:
            data = pipe.read()
        os.waitpid(self._process, 0)
        if not data:
            raise RuntimeError("a copy of the walk died")
        found: _Part = pickle.loads(data)  # noqa: S301 - our own child's
        return found


def replay(path: tuple[str, ...]) -> Small:
    """Return the run that these choices lead to, at rest."""
    start = path[:1] if path[:1] in STARTS else ()
    run = Small(STARTS[start])
    for name in path[len(start) :]:
        CHOICES[name](run)
    if not run.oracle.violations:
        run.rest()
    return run


def report(walked: Walked) -> Iterator[str]:
    """Yield what a walk came to, for people."""
    for path, violation in walked.violations:
        yield f"{violation.promise}: {violation.what}"
        yield f"  after: {', '.join(path)}"
    yield (
        f"depth {walked.depth}: {walked.states} states, {walked.ends} ends in {walked.seconds:.0f}s,"
        f" {len(walked.violations)} with a violation"
    )
