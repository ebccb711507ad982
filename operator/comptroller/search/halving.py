"""Asynchronous successive halving: which trials are promoted to the next rung.

Li et al., "A System for Massively Parallel Hyperparameter Tuning" (MLSys 2020), with three changes for
studies that pay by the second and have a dozen trials rather than thousands:

- A trial that can no longer come into the top 1/eta is pruned, and so is one in the lower half once there
  are 2 eta results. ASHA leaves both paused; then a study would never end, and would never
  report that a trial is not worth more money.
- The baseline always is promoted, outside the contest: it takes nobody's place. Everything else is reported
  against it.
- With fewer than eta results and none to come, all are promoted: too few to call any of them dominated.

A waiting trial costs nothing. Its checkpoint is in the store, and its place is free for another trial.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from comptroller.search.problem import BASELINE, Observation, Problem, by_number
from comptroller.search.ranking import ranking, unmeasured
from comptroller.search.space import Space


@dataclass(frozen=True, slots=True)
class Decision:
    """The next step of a trial that has finished a rung."""

    verdict: Literal["Promote", "Prune", "Wait"]
    """Wait: another result may still decide it, so it is decided again later."""
    rung: int
    """The rung it has finished."""
    reason: str


def decide(problem: Problem, observations: Iterable[Observation]) -> dict[int, Decision]:
    """Decide for each trial that has not ended and whose latest rung is not the last one.

    A caller acts on Promote once, by starting the next attempt: decided again before the trial finishes the
    next rung, the answer may differ, since it depends on all results that are in. A result that is worse than
    a promoted trial's never takes its promotion back.

    Args:
        problem: what is searched.
        observations: all trials, in any order.

    Returns:
        Decisions by trial number. Trials at the last rung are done and have none.
    """
    seen = by_number(observations)
    if not any(o.outcome is None and o.rungs for o in seen):
        return {}
    to_create = _to_create(problem, seen)
    decisions: dict[int, Decision] = {}
    for rung in range(problem.last_rung):
        waiting = [o for o in seen if o.outcome is None and o.rungs and o.rungs[-1].rung == rung]
        if waiting:
            decisions |= _decide_rung(problem, seen, waiting, rung, to_create)
    return dict(sorted(decisions.items()))


def _decide_rung(
    problem: Problem, seen: Sequence[Observation], waiting: Sequence[Observation], rung: int, to_create: int
) -> dict[int, Decision]:
    contest = [o for o in seen if o.number != BASELINE]
    results = {o.number: metrics for o in contest if (metrics := o.at(rung)) is not None}
    to_come = to_create + sum(o.outcome is None and o.number not in results for o in contest)
    place = {n: i for i, n in enumerate(ranking(problem, results))}
    decisions = {}
    for o in waiting:
        if o.number == BASELINE:
            decisions[o.number] = Decision("Promote", rung, f"rung {rung}: the baseline is always promoted")
        elif missing := unmeasured(problem, results[o.number]):
            reason = f"rung {rung}: {', '.join(missing)} was not measured"
            decisions[o.number] = Decision("Prune", rung, reason)
        else:
            decisions[o.number] = _contest(problem.eta, rung, place[o.number], len(results), to_come)
    return decisions


def _contest(eta: int, rung: int, place: int, results: int, to_come: int) -> Decision:
    """Decide for the trial at `place`, counted from 0, among `results`."""
    go_on = results // eta
    standing = f"rung {rung}: place {place + 1} of {results}"
    if results < eta:
        if to_come:
            return Decision("Wait", rung, f"{standing}; {eta} results are needed to compare")
        return Decision("Promote", rung, f"{standing}; too few to leave any out")
    if place < go_on:
        return Decision("Promote", rung, f"{standing}; the best {go_on} go on")
    if place >= (results + to_come) // eta:
        return Decision("Prune", rung, f"{standing}; it can no longer come into the best 1/{eta}")
    if results >= 2 * eta and 2 * place >= results:
        return Decision("Prune", rung, f"{standing}; the best {go_on} go on, and it is in the lower half")
    return Decision("Wait", rung, f"{standing}; the best {go_on} go on, and {to_come} results may come")


def _to_create(problem: Problem, seen: Sequence[Observation]) -> int:
    """Return how many more trials there may be: 0 once the space is used up, or waiting would not end."""
    planned = max(0, problem.trials - len(seen))
    if planned and problem.last_rung:
        space = Space(problem)
        used = {space.key(o.parameters) for o in seen}
        if space.unseen(np.random.default_rng(0), used) is None:
            return 0
    return planned
