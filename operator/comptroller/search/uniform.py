"""Random search: each parameter uniform on its scale."""

from collections.abc import Iterator, Sequence

import numpy as np

from comptroller.search.engine import Candidate
from comptroller.search.problem import Observation, Problem
from comptroller.search.space import Space


def candidates(
    problem: Problem,  # noqa: ARG001  (an engine's signature)
    space: Space,
    observations: Sequence[Observation],  # noqa: ARG001  (an engine's signature)
    seed: np.random.SeedSequence,
) -> Iterator[Candidate]:
    """Draw, whatever was observed."""
    rng = np.random.default_rng(seed)
    while True:
        yield Candidate(space.draw(rng), "drawn at random")
