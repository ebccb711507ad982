"""The protocol of engines: a stream of configurations worth trying, best first."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from comptroller.search.problem import Observation, Problem
from comptroller.search.space import Space
from comptroller_api.space import Assignment


class Candidate(NamedTuple):
    """A configuration and why the engine wants it."""

    parameters: Assignment
    reason: str


class Engine(Protocol):
    """Proposes for one trial."""

    def __call__(
        self,
        problem: Problem,
        space: Space,
        observations: Sequence[Observation],
        seed: np.random.SeedSequence,
    ) -> Iterator[Candidate]:
        """Yield candidates without end; the caller takes the first that has not been tried.

        Args:
            problem: what is searched.
            space: its parameters.
            observations: by number; proposals of the same call are among them, without results.
            seed: this trial's own; the only source of randomness.
        """
        ...
