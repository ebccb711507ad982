"""A schedule: all that will be done to a run, drawn before it begins. To leave one out changes no other."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from comptroller.simulation.run import Run


_PASSES = 60
"""Seconds in which an operator that sees all there is makes a pass, and another."""


class Event(Protocol):
    """One thing that people or faults do."""

    @property
    def at(self) -> int:
        """Seconds after the start."""
        ...

    def happen(self, run: "Run") -> None:
        """Do it."""
        ...


@dataclass(frozen=True)
class Schedule:
    """One run, before it is run."""

    seed: int
    start: int
    """Unix seconds."""
    events: tuple[Event, ...]
    horizon: int = 600
    """Seconds after which nothing befalls anybody any more."""
    nodes: int = 2
    milli_cores: int = 3000
    """The CPU of each node."""
    lag: int = 30
    """Seconds for which an operator may go on with what it saw."""

    @property
    def slack(self) -> int:
        """Seconds in which nobody may have been able to lower what a tenant raised."""
        blind = 0
        for event in self.events:
            if type(event).__module__.endswith((".faults", ".storage")):
                lengths = (getattr(event, name, 0) for name in ("seconds", "down"))
                blind += sum(abs(one or 0) for one in lengths)
        return _PASSES + self.lag + blind

    def only(self, kept: Iterable[int]) -> "Schedule":
        """The same with some of its events, by their places."""
        return replace(self, events=tuple(self.events[place] for place in sorted(kept)))
