"""Optuna's TPE (Bergstra et al., 2011; multi-objective: Ozaki et al., 2022), rebuilt at each call.

Multivariate, with groups for conditional parameters, and constraints. Nothing survives a call: trials go
into an in-memory study in order of their numbers, since TPE's answer depends on it.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from comptroller.search import uniform
from comptroller.search.engine import Candidate
from comptroller.search.extrapolate import final_metrics
from comptroller.search.problem import Observation, Problem
from comptroller.search.ranking import Metrics, excess, losses, unmeasured
from comptroller.search.space import Space, bounds, number, whole_bounds, write
from comptroller_api.space import Parameter

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

_BLAMED = frozenset({"Infeasible", "Failed"})
"""Outcomes that speak against a configuration even where nothing was measured."""

_LEAST_START, _MOST_START = 4, 10


def candidates(
    problem: Problem, space: Space, observations: Sequence[Observation], seed: np.random.SeedSequence
) -> Iterator[Candidate]:
    """Draw at random until there is enough to learn from, then ask TPE again and again."""
    results = _results(problem, observations)
    start = start_trials(problem)
    if len(results) < start:
        why = f"drawn at random: {len(results)} results, the model starts at {start}"
        for candidate in uniform.candidates(problem, space, observations, seed):
            yield Candidate(candidate.parameters, why)
    study = _study(problem, space, observations, results, seed)
    kept = sum(not over for _, over in results.values())
    running = sum(o.outcome is None and o.number not in results for o in observations)
    why = f"TPE: {len(results)} results, {kept} within all ceilings, {running} running"
    while True:
        # A refused candidate stays in the study as running, which keeps the next one away from it.
        trial = study.ask()
        yield Candidate(space.build(partial(_suggest, trial)), why)


def start_trials(problem: Problem) -> int:
    """Results before the model is used: a quarter of the study, within 4 and Optuna's 10."""
    return min(max(problem.trials // 4, _LEAST_START), _MOST_START)


def _results(
    problem: Problem, observations: Sequence[Observation]
) -> dict[int, tuple[list[float], dict[str, float]]]:
    """Losses and constraint excesses by trial number, of the trials that say something.

    A trial that failed or ran out of memory tells that its place is bad: it gets the worst loss seen
    and more excess than any other. One that was cancelled, ran out of budget or lost its metrics before
    its first result tells nothing.
    """
    final = final_metrics(problem, observations)
    measured: dict[int, Metrics] = {n: m for n, m in final.items() if not unmeasured(problem, m)}
    results = {n: (losses(problem, m), _finite(excess(problem, m))) for n, m in measured.items()}
    worst = [max(column) for column in zip(*(loss for loss, _ in results.values()), strict=True)]
    most = 1.0 + max((sum(over.values()) for _, over in results.values()), default=0.0)
    for o in observations:
        if o.outcome not in _BLAMED or (o.number in results and results[o.number][1]):
            continue
        loss = results[o.number][0] if o.number in results else worst or [0.0] * len(problem.objectives)
        results[o.number] = (loss, {"ended": most})
    return results


def _finite(over: dict[str, float]) -> dict[str, float]:
    """Optuna sums excesses; one that was not measured counts as once its limit."""
    return {metric: share if math.isfinite(share) else 1.0 for metric, share in over.items()}


def _study(
    problem: Problem,
    space: Space,
    observations: Sequence[Observation],
    results: Mapping[int, tuple[list[float], dict[str, float]]],
    seed: np.random.SeedSequence,
) -> "Study":
    # Here and not above: it takes as long to import as all the rest of the operator.
    import optuna  # noqa: PLC0415

    # It logs each study and trial at INFO; the operator logs proposals itself.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # `group` is experimental in name since 2021, and the only way to model conditional parameters.
        warnings.filterwarnings("ignore", "Argument ``group``", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            # We draw the start ourselves; what is left out of the study must not bring it back.
            n_startup_trials=0,
            seed=int(seed.generate_state(1)[0]),
            multivariate=True,
            group=True,
            constant_liar=True,
        )
    study = optuna.create_study(
        study_name="search", sampler=sampler, directions=["minimize"] * len(problem.objectives)
    )
    distributions = {p.name: _distribution(p) for p in space.parameters}
    trials = (_frozen(space, distributions, o, results.get(o.number)) for o in observations)
    study.add_trials([trial for trial in trials if trial is not None])
    return study


def _frozen(
    space: Space,
    distributions: Mapping[str, "BaseDistribution"],
    o: Observation,
    result: tuple[list[float], dict[str, float]] | None,
) -> "FrozenTrial | None":
    """The trial as Optuna knows it; `None` where it has nothing to say or lies outside the space."""
    from optuna.trial import TrialState, create_trial  # noqa: PLC0415

    if result is None and o.outcome is not None:
        return None
    values = {p.name: _value(p, o.parameters[p.name]) for p in space.parameters if p.name in o.parameters}
    if None in values.values():
        return None
    known = {name: distributions[name] for name in values}
    if result is None:
        return create_trial(state=TrialState.RUNNING, params=values, distributions=known)
    loss, over = result
    return create_trial(values=loss, params=values, distributions=known, constraints=over)


def _value(parameter: Parameter, text: str) -> str | float | None:
    """The value as Optuna wants it; a baseline's outside the range counts as being on its rim."""
    if parameter.values is not None:
        return text if text in parameter.values else None
    value, (low, high) = number(text), bounds(parameter)
    if value is None:
        return None
    clipped = min(max(value, low), high)
    return round(clipped) if parameter.type == "Integer" else clipped


def _distribution(parameter: Parameter) -> "BaseDistribution":
    from optuna.distributions import (  # noqa: PLC0415
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if parameter.values is not None:
        return CategoricalDistribution(parameter.values)
    log = parameter.scale == "Log"
    if parameter.type == "Integer":
        return IntDistribution(*whole_bounds(parameter), log=log)
    return FloatDistribution(*bounds(parameter), log=log)


def _suggest(trial: "Trial", parameter: Parameter) -> str:
    if parameter.values is not None:
        return str(trial.suggest_categorical(parameter.name, parameter.values))
    log = parameter.scale == "Log"
    if parameter.type == "Integer":
        return write(parameter, trial.suggest_int(parameter.name, *whole_bounds(parameter), log=log))
    return write(parameter, trial.suggest_float(parameter.name, *bounds(parameter), log=log))
