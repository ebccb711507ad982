"""Results of trials that stopped early, carried on to the last rung so that all can be compared."""

from collections.abc import Sequence

import numpy as np

from comptroller.search.problem import Observation, Problem


def final_metrics(problem: Problem, observations: Sequence[Observation]) -> dict[int, dict[str, float]]:
    """Return the metrics of each trial with a result, as expected at the last rung; by trial number.

    From one rung to the next a metric moves by the median of its moves in the trials that have both; it does
    not move if no trial has both. So trials keep their order within a rung, a short trial is not taken for a
    bad one, and a metric that does not change with training, such as a size, stays as measured.
    """
    steps = [_step(observations, rung) for rung in range(problem.last_rung)]
    return {o.number: _carried(o, steps) for o in observations if o.rungs}


def _step(observations: Sequence[Observation], rung: int) -> dict[str, float]:
    moves: dict[str, list[float]] = {}
    for o in observations:
        before, after = o.at(rung), o.at(rung + 1)
        if before is None or after is None:
            continue
        for metric in before.keys() & after.keys():
            moves.setdefault(metric, []).append(after[metric] - before[metric])
    return {metric: float(np.median(values)) for metric, values in moves.items()}


def _carried(o: Observation, steps: Sequence[dict[str, float]]) -> dict[str, float]:
    latest = o.rungs[-1]
    return {
        metric: value + sum(step.get(metric, 0.0) for step in steps[latest.rung :])
        for metric, value in latest.metrics.items()
    }
