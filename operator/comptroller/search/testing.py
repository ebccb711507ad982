"""Conformance tests of search engines.

`EngineConformance` is a class of tests for pytest. Subclass it, set the engine, and let pytest collect the
subclass.
"""
# ruff: noqa: S101 - pytest's way to say what must hold

import math
import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from comptroller.search import problem as search_problem
from comptroller.search.engine import Candidate, Engine
from comptroller.search.problem import Constraint, Objective, Observation, Problem, RungValues
from comptroller.search.propose import CANDIDATES, propose
from comptroller.search.space import Space
from comptroller_api.space import Parameter, When, active
from comptroller_api.trial import Outcome, Proposal

NAME = "Tested"
"""The engine's name in the suite's problems."""
_TRIALS, _TAKEN = 14, 10
"""Trials of a history, and candidates that are looked at."""
_ENDS: tuple[Outcome | None, ...] = (
    "Succeeded",
    "Succeeded",
    "Pruned",
    "Failed",
    None,
    "Infeasible",
    "Cancelled",
)
"""The outcomes of a history, in turn."""


def _when(parameter: str, value: str) -> When:
    return When(parameter=parameter, values=[value])


# A parameter stands before the one that its condition names, and conditions have conditions.
MIXED = (
    Parameter(name="recipe.momentum", type="Float", min="0", max="1", when=_when("recipe.optimizer", "sgd")),
    Parameter(
        name="recipe.optimizer", type="Categorical", values=["sgd", "adam"], when=_when("model.kind", "cnn")
    ),
    Parameter(name="model.kind", type="Categorical", values=["cnn", "mlp"]),
    Parameter(name="model.width", type="Integer", min="1", max="64", scale="Log"),
    Parameter(name="model.depth", type="Integer", min="2", max="5", when=_when("model.kind", "mlp")),
    Parameter(name="recipe.lr", type="Float", min="0.00012345678", max="0.98765432", scale="Log"),
    Parameter(name="data.keep", type="Float", min="0.61234567", max="0.61234571"),
)
"""Every type and scale, with conditions, and a range of fewer digits than a proposal has."""
TINY = (
    Parameter(name="model.kind", type="Categorical", values=["cnn", "mlp"]),
    Parameter(name="model.depth", type="Integer", min="3", max="3"),
)
"""Two configurations."""


def problem_of(parameters: tuple[Parameter, ...], objectives: int = 2) -> Problem:
    """Return the search of a space."""
    return Problem(
        parameters=parameters,
        baseline={"model.family": "house", "model.kind": "cnn"},
        objectives=(Objective("loss"), Objective("accuracy"))[:objectives],
        constraints=(Constraint("latency_p95_ms", 5.0),),
        epochs=(1, 3),
        engine=NAME,
        trials=24,
    )


def history(problem: Problem, sign: int = 1, count: int = _TRIALS) -> list[Observation]:
    """Return trials with every kind of end, the results of which depend on their values and on `sign`."""
    space, rng = Space(problem), np.random.default_rng(7)
    found = []
    for number in range(count):
        values = space.baseline() if number == 0 else space.draw(rng)
        loss = sign * (len(values["model.kind"]) + float(values.get("model.width", number)))
        metrics = {"loss": loss, "accuracy": -loss / 9, "latency_p95_ms": float(number % 7)}
        outcome = _ENDS[number % len(_ENDS)]
        reached = {"Succeeded": 2, "Pruned": 1, None: 1}.get(outcome, 0)
        rungs = tuple(RungValues(rung, metrics) for rung in range(reached))
        found.append(Observation(number, values, rungs, outcome))
    return found


class EngineConformance:
    """Tests of one engine. A subclass sets what is below; a function is set as a `staticmethod`."""

    engine: ClassVar[Engine]
    learns: ClassVar[bool] = True
    """False if results do not change what is proposed."""
    seeded: ClassVar[bool] = True
    """False if another seed gives the same candidates."""

    def taken(
        self, problem: Problem, seen: Sequence[Observation], seed: int = 0, count: int = _TAKEN
    ) -> list[Candidate]:
        """Return the first candidates for one trial."""
        sequence = np.random.SeedSequence(seed)
        return list(islice(self.engine(problem, Space(problem), seen, sequence), count))

    def proposed(
        self, problem: Problem, seen: Sequence[Observation], n: int
    ) -> list[search_problem.Proposal]:
        """Return the search's proposals with this engine."""
        return propose(problem, seen, n, seed=5, engines={NAME: self.engine})

    def test_every_candidate_lies_in_the_space_and_its_conditions_hold(self) -> None:
        for parameters in (MIXED, TINY):
            problem = problem_of(parameters)
            for seen in ([], history(problem)):
                for seed in range(3):
                    for candidate in self.taken(problem, seen, seed):
                        _assert_inside(problem, candidate.parameters)

    def test_the_stream_has_no_end(self) -> None:
        for parameters in (MIXED, TINY):
            problem = problem_of(parameters)
            assert len(self.taken(problem, history(problem), count=40)) == 40  # noqa: PLR2004 - as requested

    def test_an_untried_configuration_is_among_the_first_candidates(self) -> None:
        problem = problem_of(MIXED)
        space, seen = Space(problem), history(problem)
        for seed in range(4):
            tried = {space.key(o.parameters) for o in seen}
            found = [one.parameters for one in self.taken(problem, seen, seed, CANDIDATES)]
            assert any(space.key(values) not in tried for values in found), "every candidate was tried before"
            seen.append(Observation(len(seen), found[0]))

    def test_the_same_arguments_give_the_same_candidates_and_another_seed_others(self) -> None:
        problem = problem_of(MIXED)
        for seen in ([], history(problem)):
            first, again, other = (self.taken(problem, seen, seed) for seed in (1, 1, 2))
            assert first == again
            assert first != other or not self.seeded

    def test_nothing_is_kept_between_calls(self) -> None:
        problem = problem_of(MIXED)
        seen = history(problem)
        before = self.taken(problem, seen)
        self.taken(problem, history(problem, sign=-1))
        self.taken(problem_of(TINY), [])
        self.taken(replace(problem, objectives=problem.objectives[:1]), seen[:5], seed=3)
        assert self.taken(problem, seen) == before

    def test_the_seed_is_all_that_is_random(self) -> None:
        problem, before, found = problem_of(MIXED), _random_state(), []
        try:
            for state in (1, 2):
                random.seed(state)
                np.random.seed(state)  # noqa: NPY002 - the state that an engine must leave alone
                known = _random_state()
                found.append(self.taken(problem, history(problem)))
                assert _random_state() == known, "the process's random state was used"
        finally:
            random.setstate(before[0])
        assert found[0] == found[1]

    def test_the_arguments_are_not_changed(self) -> None:
        problem = problem_of(MIXED)
        seen = history(problem)
        known = deepcopy((problem, seen))
        self.taken(problem, seen)
        assert (problem, seen) == known

    def test_results_matter_to_an_engine_that_learns_and_to_no_other(self) -> None:
        problem = problem_of(MIXED, objectives=1)
        one, other = (
            [candidate.parameters for candidate in self.taken(problem, history(problem, sign))]
            for sign in (1, -1)
        )
        assert (one != other) is self.learns

    def test_any_history_is_taken(self) -> None:
        problem = problem_of(MIXED)
        base = history(problem)
        strange = [
            *base,
            Observation(20, base[1].parameters, (RungValues(0, {"loss": math.nan}),), "Succeeded"),
            Observation(
                21, base[2].parameters, (RungValues(0, {"loss": math.inf, "accuracy": 0.5}),), "Pruned"
            ),
            Observation(22, base[3].parameters, (RungValues(0, {}),), None),
            Observation(25, {"model.kind": "vit", "model.width": "4096", "recipe.lr": "5"}, (), "Failed"),
            Observation(26, {**base[4].parameters, "recipe.lr": "fast"}, base[0].rungs, "Succeeded"),
            Observation(29, {}, base[0].rungs, "Succeeded"),
        ]
        for seen in ([], strange, [strange[-1]], [o for o in strange if o.number % 2], strange[14:]):
            for candidate in self.taken(problem, seen, count=3):
                _assert_inside(problem, candidate.parameters)

    def test_a_reason_is_given_and_fits_a_trial(self) -> None:
        problem = problem_of(MIXED)
        for seen in ([], history(problem)):
            for candidate in self.taken(problem, seen, count=3):
                assert candidate.reason.strip()
                Proposal(phase="Search", engine=NAME, reason=candidate.reason)

    def test_proposals_do_not_depend_on_the_order_in_which_trials_are_listed(self) -> None:
        problem = problem_of(MIXED)
        seen = history(problem)
        mixed = list(seen)
        random.Random(3).shuffle(mixed)
        assert self.proposed(problem, mixed, 2) == self.proposed(problem, seen, 2)

    def test_proposals_at_once_are_those_of_one_call_each(self) -> None:
        problem = problem_of(MIXED)
        seen = history(problem)
        together, alone = self.proposed(problem, seen, 3), []
        for number in range(len(seen), len(seen) + 3):
            (found,) = self.proposed(problem, seen, 1)
            alone.append(found)
            seen.append(Observation(number, found.parameters))
        assert alone == together

    def test_a_space_is_proposed_to_its_last_configuration_and_then_nothing(self) -> None:
        problem = problem_of(TINY)
        found = self.proposed(problem, [], 5)
        assert sorted(one.parameters["model.kind"] for one in found) == ["cnn", "mlp"]


def _random_state() -> tuple[Any, Any]:
    """Return the random states of the process: Python's and numpy's."""
    state: Any = np.random.get_state()  # noqa: NPY002 - the state that an engine must leave alone
    return random.getstate(), state[1].tolist()


def _assert_inside(problem: Problem, values: dict[str, str]) -> None:
    """Check a configuration by the definition of the space, and not with `Space`, which engines use."""
    assert values.get("model.family") == "house", "a fixed value of the baseline is missing"
    # A condition on a parameter that does not exist does not hold.
    assert values.keys() - {"model.family"} == {p.name for p in active(problem.parameters, values)}
    for parameter in problem.parameters:
        text = values.get(parameter.name)
        if text is None:
            continue
        if parameter.values is not None:
            assert text in parameter.values
        else:
            assert float(parameter.min or "") <= float(text) <= float(parameter.max or ""), (
                parameter.name,
                text,
            )
            assert parameter.type == "Float" or text == str(int(text))
