"""Promises that hold for any space and any history of trials."""

import math
from dataclasses import replace
from itertools import product
from random import Random
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.search import Constraint, Objective, Observation, Problem, RungValues
from comptroller.search.front import best, feasible, front
from comptroller.search.halving import decide
from comptroller.search.propose import propose
from comptroller.search.ranking import excess, losses, ranking
from comptroller.search.space import Space
from comptroller_api.space import Parameter, When, active
from comptroller_api.trial import Outcome

FLAG = Parameter(name="recipe.flag", type="Float", min="0", max="1")
OBJECTIVES = (Objective("accuracy"), Objective("artifact_bytes", 2.0), Objective("loss"))
ENGINES = st.sampled_from(["Random", "TPE"])
LONGER = settings(deadline=None, max_examples=60)


@st.composite
def parameters(draw: st.DrawFn, name: str, parents: list[Parameter], kinds: tuple[str, ...]) -> Parameter:
    when: When | None = None
    if (parent := draw(st.none() | st.sampled_from(parents)) if parents else None) is not None:
        some = draw(st.lists(st.sampled_from(parent.values or []), min_size=1, unique=True))
        when = When(parameter=parent.name, values=some)
    kind = draw(st.sampled_from(kinds))
    if kind == "Categorical":
        values = list("abcd"[: draw(st.integers(1, 4))])
        return Parameter(name=name, type="Categorical", values=values, when=when)
    low, width = draw(st.integers(1, 60)), draw(st.integers(1, 20))
    scale = draw(st.sampled_from(["Linear", "Log"]))
    if kind == "Integer":
        return Parameter(
            name=name, type="Integer", min=str(low), max=str(low + width), scale=scale, when=when
        )
    # More digits than a proposal has, so that rounding alone would leave the range.
    least, most = f"0.{low:02d}1234567", f"0.{low + width:02d}7654321"
    return Parameter(name=name, type="Float", min=least, max=most, scale=scale, when=when)


@st.composite
def problems(draw: st.DrawFn, kinds: tuple[str, ...] = ("Categorical", "Integer", "Float")) -> Problem:
    space: list[Parameter] = []
    for i in range(draw(st.integers(1, 5))):
        parents = [p for p in space if p.type == "Categorical"]
        space.append(draw(parameters(f"recipe.p{i}", parents, kinds)))
    return Problem(
        parameters=tuple(draw(st.permutations(space))),
        baseline={"model.name": "cnn"},
        objectives=OBJECTIVES[: draw(st.integers(1, 3))],
        constraints=(Constraint("latency_p95_ms", 5.0),) if draw(st.booleans()) else (),
        epochs=(1, 2, 4)[: draw(st.integers(1, 3))],
        eta=draw(st.integers(2, 4)),
        engine=draw(ENGINES),
        trials=draw(st.integers(1, 40)),
    )


# Coarse values, so that ties and equal points happen.
METRICS = st.fixed_dictionaries(
    {
        "accuracy": st.integers(0, 6).map(lambda v: v / 6),
        "artifact_bytes": st.integers(1, 6).map(float),
        "loss": st.integers(0, 6).map(float),
        "latency_p95_ms": st.integers(1, 8).map(float),
    }
)


@st.composite
def searches(draw: st.DrawFn) -> tuple[Problem, list[Observation]]:
    """A problem, and trials as a controller could have recorded them."""
    problem = draw(problems())
    space, rng = Space(problem), np.random.default_rng(draw(st.integers(0, 99)))
    seen: list[Observation] = []
    for number in range(draw(st.integers(0, min(20, problem.trials)))):
        reached = draw(st.integers(0, len(problem.epochs)))
        outcomes = [None, *get_args(Outcome)]
        if reached < len(problem.epochs):
            outcomes.remove("Succeeded")
        values = space.baseline() if number == 0 else space.draw(rng)
        rungs = tuple(RungValues(rung, draw(METRICS)) for rung in range(reached))
        seen.append(Observation(number, values, rungs, draw(st.sampled_from(outcomes))))
    return problem, seen


def keys(problem: Problem, seen: list[Observation]) -> list[object]:
    space = Space(problem)
    return [space.key(o.parameters) for o in seen]


def dominates(problem: Problem, one: dict[str, float], other: dict[str, float]) -> bool:
    """Return the result by the definition, to compare with the vectorised one."""
    pairs = list(zip(losses(problem, one), losses(problem, other), strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


@LONGER
@given(searches(), st.integers(1, 4), st.integers(0, 2**31 - 1))
def test_a_proposal_lies_in_the_space_and_its_conditions_hold(
    search: tuple[Problem, list[Observation]], n: int, seed: int
) -> None:
    problem, seen = search
    for proposal in propose(problem, seen, n, seed):
        values = dict(proposal.parameters)
        assert values.pop("model.name") == "cnn"
        assert set(values) == {p.name for p in active(problem.parameters, values)}
        for p in problem.parameters:
            if p.name not in values:
                continue
            text = values[p.name]
            if p.values is not None:
                assert text in p.values
            else:
                assert float(p.min or "") <= float(text) <= float(p.max or "")
                assert p.type == "Float" or text == str(int(text))
                assert len(text) <= len(str(p.max)) + 1
        assert len(proposal.reason) in range(1, 1025)
        assert len(proposal.engine) in range(1, 33)


@LONGER
@given(searches(), st.integers(0, 4), st.integers(0, 2**31 - 1), st.randoms(use_true_random=False))
def test_the_answer_is_a_function_of_the_trials_and_not_of_their_order(
    search: tuple[Problem, list[Observation]], n: int, seed: int, shuffle: Random
) -> None:
    problem, seen = search
    mixed = list(seen)
    shuffle.shuffle(mixed)
    assert propose(problem, mixed, n, seed) == propose(problem, seen, n, seed)
    assert decide(problem, mixed) == decide(problem, seen)
    assert front(problem, mixed) == front(problem, seen)
    assert best(problem, mixed) == best(problem, seen)


@LONGER
@given(searches(), st.integers(0, 2**31 - 1))
def test_proposals_at_once_are_those_of_one_call_each(
    search: tuple[Problem, list[Observation]], seed: int
) -> None:
    problem, seen = search
    together = propose(problem, seen, 3, seed)
    alone: list[object] = []
    for number in range(len(seen), len(seen) + 3):
        found = propose(problem, seen, 1, seed)
        alone += found
        seen = seen + [Observation(number, p.parameters) for p in found]
    assert alone == together


@LONGER
@given(searches(), st.integers(1, 4), st.integers(0, 2**31 - 1))
def test_no_configuration_is_proposed_twice(
    search: tuple[Problem, list[Observation]], n: int, seed: int
) -> None:
    problem, seen = search
    found = [Observation(-1, p.parameters) for p in propose(problem, seen, n, seed)]
    proposed = keys(problem, found)
    assert len(set(proposed)) == len(proposed)
    assert not set(proposed) & set(keys(problem, seen))


@LONGER
@given(problems(("Categorical",)), st.integers(0, 2**31 - 1))
def test_a_finite_space_is_proposed_whole_and_then_nothing(problem: Problem, seed: int) -> None:
    problem = replace(problem, engine="Random")
    names = [p.name for p in problem.parameters]
    everything = set()
    for values in product(*(p.values or [] for p in problem.parameters)):
        chosen = dict(zip(names, values, strict=True))
        # A condition may depend on a parameter that is absent itself, so the loop runs until nothing changes.
        while (
            kept := {p.name: chosen[p.name] for p in active(problem.parameters, chosen) if p.name in chosen}
        ) != chosen:
            chosen = kept
        everything.add(tuple(sorted(chosen.items())))
    found = propose(problem, [], len(everything) + 5, seed)
    assert {tuple(sorted((k, v) for k, v in p.parameters.items() if k in names)) for p in found} == everything
    assert len(found) == len(everything)


@LONGER
@given(searches())
def test_every_trial_between_rungs_gets_a_decision_and_no_other_does(
    search: tuple[Problem, list[Observation]],
) -> None:
    problem, seen = search
    between = [o for o in seen if o.outcome is None and 0 < len(o.rungs) < len(problem.epochs)]
    decisions = decide(problem, seen)
    assert list(decisions) == [o.number for o in between]
    assert all(decisions[o.number].rung == len(o.rungs) - 1 for o in between)
    assert all(decisions[o.number].verdict == "Promote" for o in between if o.number == 0)


@LONGER
@given(problems(), st.integers(1, 4), st.data())
def test_a_study_ends_with_each_trial_done_or_pruned(
    problem: Problem, parallel: int, data: st.DataObject
) -> None:
    """No trial waits forever, even if the space has fewer configurations than planned trials."""
    problem = replace(problem, engine="Random")
    metrics = st.lists(METRICS, min_size=1, max_size=8)
    measured = data.draw(metrics)
    trials: list[Observation] = []
    for _ in range(10 * problem.trials * len(problem.epochs)):
        before = list(trials)
        goes_on = [o for o in trials if o.outcome is None and not o.rungs]
        for number, decision in decide(problem, trials).items():
            if decision.verdict == "Prune":
                trials[number] = replace(trials[number], outcome="Pruned")
            elif decision.verdict == "Promote":
                goes_on.append(trials[number])
        for proposal in propose(
            problem, trials, min(parallel - len(goes_on), problem.trials - len(trials)), 0
        ):
            goes_on.append(Observation(len(trials), proposal.parameters))
            trials.append(goes_on[-1])
        for o in goes_on[:parallel]:
            result = RungValues(len(o.rungs), measured[(7 * o.number + len(o.rungs)) % len(measured)])
            outcome: Outcome | None = "Succeeded" if result.rung == problem.last_rung else None
            trials[o.number] = replace(o, rungs=(*o.rungs, result), outcome=outcome)
        if trials == before:
            break
    assert {o.outcome for o in trials} <= {"Succeeded", "Pruned"}
    assert trials[0].outcome == "Succeeded"
    assert len(trials) == problem.trials or not propose(problem, trials, 1, 0)


@LONGER
@given(
    st.lists(METRICS, min_size=2, max_size=12),
    METRICS,
    st.integers(0, 6),
    st.integers(1, 3),
    st.integers(2, 4),
)
def test_a_worse_result_never_takes_a_promotion_back(
    results: list[dict[str, float]], late: dict[str, float], to_come: int, objectives: int, eta: int
) -> None:
    ceiling = Constraint("latency_p95_ms", 5.0)
    trials = len(results) + 1 + to_come
    problem = Problem((FLAG,), {}, OBJECTIVES[:objectives], (ceiling,), (1, 2), eta, trials=trials)
    seen = [Observation(i, {}, (RungValues(0, m),)) for i, m in enumerate(results, start=1)]
    running = Observation(len(seen) + 1, {})
    arrived = replace(running, rungs=(RungValues(0, late),))
    before, after = decide(problem, [*seen, running]), decide(problem, [*seen, arrived])
    for o in seen:
        mine = o.rungs[0].metrics
        beaten = not feasible(problem, late) or dominates(problem, mine, late)
        if before[o.number].verdict == "Promote" and feasible(problem, mine) and beaten:
            assert after[o.number].verdict == "Promote"


@LONGER
@given(searches())
def test_a_pruned_trial_is_never_better_than_a_promoted_one(
    search: tuple[Problem, list[Observation]],
) -> None:
    problem, seen = search
    decisions = decide(problem, seen)
    by_number = {o.number: o for o in seen}
    for (a, pruned), (b, kept) in product(decisions.items(), repeat=2):
        if pruned.verdict == "Prune" and kept.verdict != "Prune" and b != 0 and pruned.rung == kept.rung:
            one, other = by_number[a].at(pruned.rung), by_number[b].at(kept.rung)
            assert one is not None
            assert other is not None
            if feasible(problem, one):
                assert feasible(problem, other)
                assert not dominates(problem, one, other)


@LONGER
@given(searches())
def test_the_front_holds_exactly_what_nothing_dominates(search: tuple[Problem, list[Observation]]) -> None:
    problem, seen = search
    allowed = {
        o.number: o.rungs[-1].metrics
        for o in seen
        if o.outcome == "Succeeded" and feasible(problem, o.rungs[-1].metrics)
    }
    expected = {n for n, m in allowed.items() if not any(dominates(problem, x, m) for x in allowed.values())}
    found = front(problem, seen)
    assert set(found) == expected
    assert len(found) == len(expected)
    firsts = [losses(problem, allowed[n])[0] for n in found]
    assert firsts == sorted(firsts)
    assert best(problem, seen) in expected if expected else best(problem, seen) is None
    assert set(front(problem, seen, most=2)) <= expected
    assert len(front(problem, seen, most=2)) == min(2, len(expected))


@LONGER
@given(problems(), st.dictionaries(st.integers(0, 30), METRICS, max_size=15))
def test_the_ranking_respects_ceilings_and_dominance(
    problem: Problem, results: dict[int, dict[str, float]]
) -> None:
    order = ranking(problem, results)
    assert sorted(order) == sorted(results)
    for place, worse in enumerate(order):
        for better in order[:place]:
            over = [sum(excess(problem, results[n]).values()) for n in (better, worse)]
            assert over == sorted(over)
            if feasible(problem, results[worse]):
                assert not dominates(problem, results[worse], results[better])


@pytest.mark.parametrize("broken", [math.nan, math.inf, None])
def test_a_result_without_its_objective_is_last_and_never_on_the_front(broken: float | None) -> None:
    problem = Problem((), {}, OBJECTIVES[:1], trials=3)
    lost = {} if broken is None else {"accuracy": broken}
    seen = [
        Observation(1, {}, (RungValues(0, lost),), "Succeeded"),
        Observation(2, {}, (RungValues(0, {"accuracy": 0.1}),), "Succeeded"),
    ]
    assert ranking(problem, {o.number: o.rungs[0].metrics for o in seen}) == [2, 1]
    assert front(problem, seen) == [2]
    assert best(problem, seen) == 2
