"""An exhaustive walk: everything that can happen to one small study, in every order, to a stated depth.

A run draws one history of thousands of events; the walk takes every history of a few. From a state in which
an attempt runs, and from one in which no operator has seen its pod yet, each choice is tried: an operator
makes a pass, or dies at one of its writes; a second one does; watches stand still or catch up; time passes to
the next event; somebody patches or deletes a Job or a pod. A wide walk has more starts, and every other edit
and fault. The plan, the adapter and the code that reads bodies are the real ones. A state that was seen
before is not walked again, and from every last state the world has to come to rest with everything paid for.

Histories that are too long for all of them to be tried are drawn at random: `sample`.

Each choice is tried in a fork of the process, which is a copy of the state that costs nothing to make.
"""

import gc
import os
import pickle
import random
import select
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from comptroller.simulation.choices import CHOICES, STARTS, WIDE_CHOICES, WIDE_STARTS
from comptroller.simulation.oracle import Violation
from comptroller.simulation.small import Small

Choices = Mapping[str, Callable[[Small], bool]]


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


def walk(depth: int, jobs: int = 1, most: int = 10, *, wide: bool = False) -> Walked:
    """Try everything to a depth, in order; stop after so many violations.

    Args:
        depth: how many choices a history has.
        jobs: how many first choices are followed at a time.
        most: violations.
        wide: also the starts and the choices of a wide walk.
    """
    walked, began = Walked(depth), time.monotonic()
    choices = CHOICES | (WIDE_CHOICES if wide else {})
    for start, begin in (STARTS | (WIDE_STARTS if wide else {})).items():
        run = begin()
        part = _Part({run.state(): depth}, 0, [])
        gc.freeze()  # what is there stays, and forks share it as long as nobody looks through it
        _spread(run, choices, depth, part, most - len(walked.violations), jobs, start)
        walked.states += len(part.seen)
        walked.ends += part.ends
        walked.violations = [*walked.violations, *part.violations][:most]
    walked.seconds = time.monotonic() - began
    return walked


_OFTEN = ("a passes", "b passes", "time passes")
"""Choices that are drawn more often: operators pass, and time does."""
_SHARE = 0.3


def sample(depth: int, histories: int, jobs: int = 1, seed: int = 0, most: int = 10) -> Walked:
    """Try histories of a wide walk that are drawn at random; stop after so many violations.

    Args:
        depth: how many choices a history has, at most.
        histories: how many to draw.
        jobs: how many are tried at a time.
        seed: of the draw.
        most: violations.
    """
    walked, began, rng = Walked(depth), time.monotonic(), random.Random(seed)
    choices, found, copies = CHOICES | WIDE_CHOICES, _Part({}, 0, []), list[_Copy]()
    runs = {start: begin() for start, begin in (STARTS | WIDE_STARTS).items()}
    gc.freeze()
    left = histories
    while copies or (left and len(found.violations) < most):
        while left and len(copies) < jobs:
            left -= 1
            start = rng.choice(list(runs))
            path = [rng.choice(_OFTEN if rng.random() < _SHARE else list(choices)) for _ in range(depth)]
            drawn = path[: rng.randint(1, depth)]
            copies.append(_Copy(lambda r=runs[start], s=start, p=drawn: _history(r, choices, s, p)))  # type: ignore[misc]
        done, _, _ = select.select(copies, [], [])
        for copy in done:
            copies.remove(copy)
            found.add(copy.found())
    walked.states = walked.ends = found.ends
    walked.violations = found.violations[:most]
    walked.seconds = time.monotonic() - began
    return walked


def _history(run: Small, choices: Choices, start: tuple[str, ...], path: list[str]) -> _Part:
    for name in path:
        choices[name](run)
        if run.oracle.violations:
            break
    else:
        run.rest()
    part = _Part({}, 1, [])
    if run.oracle.violations:
        shortest = shortened((*start, *path), len(start))
        part.violations = [(shortest, replay(shortest).oracle.violations[0])]
    return part


def shortened(path: tuple[str, ...], kept: int = 0) -> tuple[str, ...]:
    """Return a path without the choices, after those `kept`, that its violation does not need."""
    place = kept
    while place < len(path):
        less = (*path[:place], *path[place + 1 :])
        if replay(less).oracle.violations:
            path = less
        else:
            place += 1
    return path


def _spread(
    run: Small, choices: Choices, depth: int, part: _Part, most: int, jobs: int, start: tuple[str, ...]
) -> None:
    """Follow the first choices side by side; each begins with the states that those before it found."""
    left, copies = list(choices.items()), list[_Copy]()
    while copies or (left and len(part.violations) < most):
        while left and len(copies) < jobs and len(part.violations) < most:
            name, choice = left.pop(0)
            copies.append(
                _Copy(lambda c=choice, p=(*start, name): _try(run, choices, c, depth - 1, p, part, most))  # type: ignore[misc]
            )
        done, _, _ = select.select(copies, [], [])
        for copy in done:
            copies.remove(copy)
            part.add(copy.found())


def _visit(run: Small, choices: Choices, depth: int, path: tuple[str, ...], part: _Part, most: int) -> None:
    for name, choice in choices.items():
        if len(part.violations) >= most:
            return
        part.add(
            _Copy(lambda c=choice, n=name: _try(run, choices, c, depth - 1, (*path, n), part, most)).found()  # type: ignore[misc]
        )


def _try(
    run: Small,
    choices: Choices,
    choice: Callable[[Small], bool],
    depth: int,
    path: tuple[str, ...],
    before: _Part,
    most: int,
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
            _visit(run, choices, depth, path, part, most - len(before.violations))
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
    starts, choices = STARTS | WIDE_STARTS, CHOICES | WIDE_CHOICES
    start = path[:1] if path[:1] in starts else ()
    run = starts[start]()
    for name in path[len(start) :]:
        choices[name](run)
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
