"""Comparing results: ceilings first, then dominance, then the weighted score."""

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from comptroller.search.problem import Problem

Metrics: TypeAlias = Mapping[str, float]
Points: TypeAlias = npt.NDArray[np.float64]
"""A row for each result, a column for each objective; less is better."""


def unmeasured(problem: Problem, metrics: Metrics) -> list[str]:
    """Objectives without a finite value; a result that lacks one cannot be compared."""
    return [o.metric for o in problem.objectives if not math.isfinite(metrics.get(o.metric, math.nan))]


def excess(problem: Problem, metrics: Metrics) -> dict[str, float]:
    """Return by how much of its limit each constraint is passed; infinite if its metric was not measured.

    What was not measured is not known to keep a ceiling, so it does not count as kept.
    """
    over: dict[str, float] = {}
    for constraint in problem.constraints:
        value = metrics.get(constraint.metric, math.nan)
        share = (value - constraint.limit) / constraint.limit
        if not share <= 0:
            over[constraint.metric] = math.inf if math.isnan(share) else share
    return over


def losses(problem: Problem, metrics: Metrics) -> list[float]:
    """The objectives turned so that less is better."""
    return [-metrics[o.metric] if o.maximised else metrics[o.metric] for o in problem.objectives]


def fronts(points: Points) -> npt.NDArray[np.int64]:
    """Each point's front: 0 for those that none dominates, 1 for the same without front 0, and so on.

    Nondominated sorting (Deb et al., 2002). One point dominates another when it is nowhere worse and
    somewhere better, so equal points share a front.
    """
    worse = np.zeros((len(points), len(points)), dtype=np.bool_)
    for column in points.T:
        worse |= column[:, None] > column[None, :]
    # dominates[i, j]: i is nowhere worse than j, and j is worse than i somewhere.
    dominates = ~worse & worse.T
    above = dominates.sum(axis=0)
    rank = np.full(len(points), -1, dtype=np.int64)
    level = 0
    while (current := (above == 0) & (rank < 0)).any():
        rank[current] = level
        above = above - dominates[current].sum(axis=0)
        level += 1
    return rank


def scores(problem: Problem, points: Points) -> npt.NDArray[np.float64]:
    """The weighted sum of the objectives, each scaled to 0..1 over these points; less is better."""
    low, high = points.min(axis=0), points.max(axis=0)
    spread = np.where(high > low, high - low, 1.0)
    weights = np.array([o.weight for o in problem.objectives])
    total: npt.NDArray[np.float64] = ((points - low) / spread) @ (weights / weights.sum())
    return total


def crowding(points: Points) -> npt.NDArray[np.float64]:
    """Return the distance between each point's neighbours (Deb et al., 2002); infinite at both ends."""
    distance = np.zeros(len(points))
    for column in points.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if span > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance


def ranking(problem: Problem, results: Mapping[int, Metrics]) -> list[int]:
    """The numbers of `results`, best first.

    Results within all ceilings come first, in order of their front and, on one front, of their
    score on it. The others follow, the least excess first, and last those without an objective.
    Ties go to the lower number. A result never changes the order of those that dominate it.
    """
    comparable = sorted(n for n, metrics in results.items() if not unmeasured(problem, metrics))
    over = {n: sum(excess(problem, results[n]).values()) for n in comparable}
    within = [n for n in comparable if over[n] == 0]
    ordered = _by_dominance(problem, within, results)
    ordered += sorted((n for n in comparable if over[n] > 0), key=lambda n: (over[n], n))
    return ordered + sorted(results.keys() - over.keys())


def _by_dominance(problem: Problem, numbers: Sequence[int], results: Mapping[int, Metrics]) -> list[int]:
    if not numbers:
        return []
    if len(problem.objectives) == 1:
        return sorted(numbers, key=lambda n: (losses(problem, results[n]), n))
    points = np.array([losses(problem, results[n]) for n in numbers])
    rank = fronts(points)
    ordered: list[int] = []
    for level in range(int(rank.max()) + 1):
        members = np.flatnonzero(rank == level)
        score = scores(problem, points[members])
        ordered += [numbers[members[i]] for i in np.argsort(score, kind="stable")]
    return ordered
