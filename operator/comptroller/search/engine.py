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
    """Proposes for one trial; `comptroller.search.testing` has the conformance suite.

    * Every candidate lies in the space: it has the fixed values and exactly the parameters whose conditions
      hold, each within its range (`Space.build` sees to that).
    * The candidates are a function of the arguments. Nothing is kept between calls, since operators restart,
      and nothing but `seed` is random. The arguments are not changed.
    * The stream has no end, even if every configuration has been tried. If some have not, one of them is
      among the first candidates.
    * Any history is possible: trials without results, with metrics that are missing or not finite, outside
      the space, and with numbers left out.
    """

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
