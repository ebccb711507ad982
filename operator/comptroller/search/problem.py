"""The search problem and its observations so far, as plain values."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, Self

from comptroller_api import quantity
from comptroller_api.metrics import LATENCIES, MAXIMISED
from comptroller_api.space import Parameter
from comptroller_api.study import StudySpec
from comptroller_api.trial import Outcome

BASELINE = 0
"""The number of the trial that runs the reference recipe."""

_NANOSECONDS_PER_MILLISECOND = 10**6


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric to push in its own direction."""

    metric: str
    weight: float = 1.0

    @property
    def maximised(self) -> bool:
        """More is better."""
        return self.metric in MAXIMISED


@dataclass(frozen=True, slots=True)
class Constraint:
    """A metric that must not be over `limit`, which is more than zero and in the metric's own unit."""

    metric: str
    limit: float


@dataclass(frozen=True, slots=True)
class Problem:
    """A study as the search sees it."""

    parameters: tuple[Parameter, ...]
    baseline: dict[str, str]
    """Values of the reference recipe; a name outside the space is passed on to every trial."""
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()
    epochs: tuple[int, ...] = (1,)
    """Epochs at the end of each rung, ascending."""
    eta: int = 3
    engine: str = "TPE"
    trials: int = 1
    """Planned trials, the baseline included."""

    @classmethod
    def from_spec(cls, spec: StudySpec) -> Self:
        """The problem that `spec` declares.

        Ceilings on an artifact become constraints. Spend and wall clock bind the study as a whole, so the
        controller keeps them.
        """
        ceilings, constraints = spec.ceilings, []
        if ceilings.latency is not None:
            milliseconds = quantity.nanoseconds(ceilings.latency.limit) / _NANOSECONDS_PER_MILLISECOND
            constraints.append(Constraint(LATENCIES[ceilings.latency.quantile], milliseconds))
        if ceilings.artifact_size is not None:
            constraints.append(Constraint("artifact_bytes", float(quantity.whole(ceilings.artifact_size))))
        if ceilings.peak_memory is not None:
            constraints.append(Constraint("peak_memory_bytes", float(quantity.whole(ceilings.peak_memory))))
        return cls(
            parameters=tuple(spec.space.parameters),
            baseline=dict(spec.baseline),
            objectives=tuple(Objective(o.metric, float(o.weight)) for o in spec.objectives),
            constraints=tuple(constraints),
            epochs=tuple(spec.search.rungs.epochs),
            eta=spec.search.rungs.eta,
            engine=spec.search.engine,
            trials=spec.search.trials,
        )

    @property
    def deciding(self) -> tuple[str, ...]:
        """The metrics by which trials are compared: the objectives and those with a ceiling, each once."""
        names = [o.metric for o in self.objectives] + [c.metric for c in self.constraints]
        return tuple(dict.fromkeys(names))

    @property
    def last_rung(self) -> int:
        """The rung after which a trial is done."""
        return len(self.epochs) - 1


@dataclass(frozen=True, slots=True)
class RungValues:
    """The metrics that were measured at the end of a rung."""

    rung: int
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observation:
    """A trial as the search sees it."""

    number: int
    parameters: dict[str, str]
    rungs: tuple[RungValues, ...] = ()
    """Ascending, from rung 0, without gaps."""
    outcome: Outcome | None = None
    """`None`: it has not ended."""
    cost: int = 0
    """Micro-units spent so far."""

    def at(self, rung: int) -> dict[str, float] | None:
        """The metrics at `rung`; `None` if it has not got there."""
        return next((r.metrics for r in self.rungs if r.rung == rung), None)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration to try, and why."""

    parameters: dict[str, str]
    phase: Literal["Baseline", "Search"]
    engine: str
    reason: str


def by_number(observations: Iterable[Observation]) -> list[Observation]:
    """Return observations in the order of their numbers, so that no answer depends on their order."""
    return sorted(observations, key=lambda o: o.number)
