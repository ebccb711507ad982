"""The choice of the configurations to try next."""

from collections.abc import Collection, Iterable
from itertools import count, islice

import numpy as np

from comptroller.search import tpe, uniform
from comptroller.search.engine import Candidate, Engine
from comptroller.search.problem import BASELINE, Observation, Problem, Proposal, by_number
from comptroller.search.space import Space

_ENGINES: dict[str, Engine] = {"Random": uniform.candidates, "TPE": tpe.candidates}

SUPPORTED_ENGINES = frozenset(_ENGINES)
"""The values of `spec.search.engine` that `propose` accepts."""

_CANDIDATES = 8
"""Candidates that an engine may offer before an untried configuration is drawn for it."""


def propose(
    problem: Problem, observations: Iterable[Observation], n: int, seed: int, spent: Collection[int] = ()
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

    Returns:
        At most `n` proposals; fewer, down to none, where the space has no other configuration.

    Raises:
        ValueError: the engine is not one of `SUPPORTED_ENGINES`.
    """
    if problem.engine not in _ENGINES:
        known = ", ".join(sorted(_ENGINES))
        raise ValueError(f"{problem.engine} is not an engine; use one of {known}")
    space = Space(problem)
    seen = by_number(observations)
    taken = {o.number for o in seen} | set(spent)
    proposals: list[Proposal] = []
    for number in islice((i for i in count() if i not in taken), max(0, n)):
        proposal = _next(problem, space, seen, number, seed)
        if proposal is None:
            break
        proposals.append(proposal)
        seen = by_number([*seen, Observation(number, proposal.parameters)])
    return proposals


def _next(problem: Problem, space: Space, seen: list[Observation], number: int, seed: int) -> Proposal | None:
    tried = {space.key(o.parameters) for o in seen}
    baseline = space.baseline()
    # A configuration runs once, even where the baseline's trial was deleted and another equals it.
    if number == BASELINE and space.key(baseline) not in tried:
        return Proposal(baseline, "Baseline", "Baseline", "the reference recipe, which runs first")
    own, spare = np.random.SeedSequence([seed, number]).spawn(2)
    for candidate in islice(_ENGINES[problem.engine](problem, space, seen, own), _CANDIDATES):
        if space.key(candidate.parameters) not in tried:
            return _search(problem, candidate)
    untried = space.unseen(np.random.default_rng(spare), tried)
    if untried is None:
        return None
    reason = f"drawn at random: {_CANDIDATES} candidates of the engine had all been tried"
    return _search(problem, Candidate(untried, reason))


def _search(problem: Problem, candidate: Candidate) -> Proposal:
    return Proposal(candidate.parameters, "Search", problem.engine, candidate.reason)
