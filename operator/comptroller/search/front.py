"""The outcome: the Pareto front, the best trial, and why a result is not allowed."""

from collections.abc import Iterable

import numpy as np

from comptroller.search.problem import Observation, Problem, by_number
from comptroller.search.ranking import (
    Metrics,
    Points,
    crowding,
    excess,
    fronts,
    losses,
    scores,
    unmeasured,
)

_NO_POINTS: Points = np.empty((0, 0))


def violation(problem: Problem, metrics: Metrics) -> str:
    """Return the ceilings that `metrics` pass, as a sentence; empty if none.

    A ceiling whose metric was not measured counts as passed: nothing shows that it is kept.
    """
    over = excess(problem, metrics)
    return "; ".join(
        f"{c.metric} {metrics[c.metric]:.6g} is over its ceiling {c.limit:.6g}"
        if np.isfinite(over[c.metric])
        else f"{c.metric} was not measured, so its ceiling {c.limit:.6g} is not known to be kept"
        for c in problem.constraints
        if c.metric in over
    )


def feasible(problem: Problem, metrics: Metrics) -> bool:
    """Every ceiling is known to be kept."""
    return not excess(problem, metrics)


def front(problem: Problem, observations: Iterable[Observation], most: int | None = None) -> list[int]:
    """The trials that no other dominates, of those that succeeded within all ceilings.

    Args:
        problem: what is searched.
        observations: all trials; their last rung counts.
        most: with more members than this, those in the least crowded places are kept: the most
            crowded one is left out, again and again, so the ends of the front always stay.

    Returns:
        Numbers, the best by the first objective first.
    """
    return _thinned(*_members(problem, observations), most)


def _thinned(numbers: list[int], points: Points, most: int | None) -> list[int]:
    if len(numbers) <= 1:
        return numbers
    numbers = list(numbers)
    while most is not None and len(numbers) > most:
        # Of equally crowded members the one with the highest number goes.
        crowded = len(numbers) - 1 - int(np.argmin(crowding(points)[::-1]))
        del numbers[crowded]
        points = np.delete(points, crowded, axis=0)
    return [n for _, n in sorted(zip(points.tolist(), numbers, strict=True))]


def best(problem: Problem, observations: Iterable[Observation]) -> int | None:
    """The member of the front with the best weighted sum of objectives, each scaled over the front.

    With one objective this is simply the best trial. Ties go to the lower number; `None` where
    nothing has succeeded within the ceilings.
    """
    return _best(problem, *_members(problem, observations))


def _best(problem: Problem, numbers: list[int], points: Points) -> int | None:
    if len(numbers) <= 1:
        return numbers[0] if numbers else None
    return numbers[int(np.argmin(scores(problem, points)))]


def front_and_best(
    problem: Problem, observations: Iterable[Observation], most: int | None = None
) -> tuple[list[int], int | None]:
    """Both at once, for half the work."""
    numbers, points = _members(problem, observations)
    return _thinned(numbers, points, most), _best(problem, numbers, points)


def _members(problem: Problem, observations: Iterable[Observation]) -> tuple[list[int], Points]:
    """The front's numbers, ascending, and their points."""
    finished = [
        o
        for o in by_number(observations)
        if o.outcome == "Succeeded"
        and o.rungs
        and not unmeasured(problem, o.rungs[-1].metrics)
        and feasible(problem, o.rungs[-1].metrics)
    ]
    if not finished:
        return [], _NO_POINTS
    points = np.array([losses(problem, o.rungs[-1].metrics) for o in finished])
    if len(finished) == 1:
        return [o.number for o in finished], points
    alone = len(problem.objectives) == 1
    members = np.flatnonzero(points[:, 0] == points.min() if alone else fronts(points) == 0)
    return [finished[i].number for i in members], points[members]
