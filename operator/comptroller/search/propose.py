"""The choice of the configurations to try next."""

from collections.abc import Collection, Iterable, Mapping
from itertools import count, islice

import numpy as np

from comptroller.search.engine import Candidate, Engine
from comptroller.search.engines import ENGINES
from comptroller.search.problem import BASELINE, Observation, Problem, Proposal, by_number
from comptroller.search.space import Space

SUPPORTED_ENGINES = frozenset(ENGINES)
"""The values of `spec.search.engine` that `propose` accepts."""

CANDIDATES = 8
"""Candidates that an engine may offer before an untried configuration is drawn for it."""


def propose(
    problem: Problem,
    observations: Iterable[Observation],
    n: int,
    seed: int,
    spent: Collection[int] = (),
    engines: Mapping[str, Engine] = ENGINES,
) -> list[Proposal]:
    """Propose `n` configurations that have not been tried.

    Rebuilt from `observations` each time: the same arguments give the same answer, in whatever order
    trials are listed, and n proposals at once are those that n calls would give one by one. They are
    meant for the lowest numbers that are not taken; number 0 is the baseline's.

    Args:
        problem: what is searched.
        observations: every trial there is, ended or not.
        n: how many are wanted.
        seed: the study's.
        spent: further numbers that are taken, such as those of trials that were deleted.
        engines: by name.

    Returns:
        At most `n` proposals; fewer, down to none, where the space has no other configuration.

    Raises:
        ValueError: the problem's engine is not one of `engines`.
    """
    if problem.engine not in engines:
        known = ", ".join(sorted(engines))
        raise ValueError(f"{problem.engine} is not an engine; use one of {known}")
    space = Space(problem)
    seen = by_number(observations)
    taken = {o.number for o in seen} | set(spent)
    proposals: list[Proposal] = []
    for number in islice((i for i in count() if i not in taken), max(0, n)):
        proposal = _next(engines[problem.engine], problem, space, seen, (seed, number))
        if proposal is None:
            break
        proposals.append(proposal)
        seen = by_number([*seen, Observation(number, proposal.parameters)])
    return proposals


def _next(
    engine: Engine, problem: Problem, space: Space, seen: list[Observation], seeds: tuple[int, int]
) -> Proposal | None:
    """Return the next proposal; `seeds` are the study's and the trial's number."""
    tried = {space.key(o.parameters) for o in seen}
    baseline = space.baseline()
    # A configuration runs once, even where the baseline's trial was deleted and another equals it.
    if seeds[1] == BASELINE and space.key(baseline) not in tried:
        return Proposal(baseline, "Baseline", "Baseline", "the reference recipe, which runs first")
    own, spare = np.random.SeedSequence(seeds).spawn(2)
    for candidate in islice(engine(problem, space, seen, own), CANDIDATES):
        if space.key(candidate.parameters) not in tried:
            return _search(problem, candidate)
    untried = space.unseen(np.random.default_rng(spare), tried)
    if untried is None:
        return None
    reason = f"drawn at random: {CANDIDATES} candidates of the engine had all been tried"
    return _search(problem, Candidate(untried, reason))


def _search(problem: Problem, candidate: Candidate) -> Proposal:
    return Proposal(candidate.parameters, "Search", problem.engine, candidate.reason)
