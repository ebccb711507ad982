"""Proposals: the baseline first, engines that learn, nothing kept between calls."""

import json
import logging
import os
import subprocess
import sys
from typing import get_args

import numpy as np
import pytest

from comptroller.search import (
    SUPPORTED_ENGINES,
    Constraint,
    Objective,
    Observation,
    Problem,
    RungValues,
)
from comptroller.search.propose import propose
from comptroller.search.tpe import start_trials
from comptroller_api.space import Parameter, When
from comptroller_api.study import Search
from comptroller_api.trial import Proposal

KIND = Parameter(name="model.kind", type="Categorical", values=["cnn", "mlp"])
WIDTH = Parameter(
    name="model.width", type="Integer", min="1", max="64", when=When(parameter="model.kind", values=["cnn"])
)
RATE = Parameter(name="recipe.lr", type="Float", min="0.0001", max="1", scale="Log")
KEEP = Parameter(name="data.keep", type="Float", min="0", max="1")


def problem(engine: str = "TPE", *parameters: Parameter, trials: int = 40, **more: object) -> Problem:
    return Problem(
        parameters or (KIND, WIDTH, RATE),
        {"recipe.lr": "0.1", "recipe.batch": "64"},
        (Objective("loss"),),
        engine=engine,
        trials=trials,
        **more,  # type: ignore[arg-type]
    )


def search(given: Problem, seed: int, trials: int) -> list[Observation]:
    """Minimise the distance to lr = 0.01 and keep = 0.3, one trial after the other."""
    seen: list[Observation] = []
    for number in range(trials):
        values = propose(given, seen, 1, seed)[0].parameters
        loss = (np.log10(float(values["recipe.lr"])) + 2) ** 2 + 10 * (float(values["data.keep"]) - 0.3) ** 2
        seen.append(Observation(number, values, (RungValues(0, {"loss": float(loss)}),), "Succeeded"))
    return seen


@pytest.mark.parametrize("engine", sorted(SUPPORTED_ENGINES))
def test_trial_0_is_the_reference_recipe(engine: str) -> None:
    first, second = propose(problem(engine), [], 2, 0)
    assert first.phase == "Baseline"
    assert first.parameters == {
        "model.kind": "cnn", "model.width": "32", "recipe.batch": "64", "recipe.lr": "0.1",
    }  # fmt: skip
    assert second.phase == "Search"
    assert second.parameters["recipe.batch"] == "64"


def test_a_baseline_that_another_trial_has_run_is_not_run_again() -> None:
    (first,) = propose(problem(), [], 1, 0)
    (again,) = propose(problem(), [Observation(1, first.parameters)], 1, 0)
    assert again.phase == "Search"
    assert again.parameters != first.parameters


def test_proposals_are_for_the_lowest_free_numbers() -> None:
    given = problem("Random")
    all_five = propose(given, [], 5, 0)
    left = [Observation(i, all_five[i].parameters) for i in (0, 1, 3)]
    assert propose(given, left, 2, 0) == [all_five[2], all_five[4]]


def test_a_random_trial_is_a_function_of_the_seed_and_its_number() -> None:
    given = problem("Random")
    others = [Observation(i, {"model.kind": "mlp", "recipe.lr": f"0.5{i}"}) for i in range(3)]
    assert propose(given, others, 1, 0) == propose(given, [], 4, 0)[3:]


def test_no_proposals_are_made_if_none_are_wanted() -> None:
    assert propose(problem(), [], 0, 0) == []
    assert propose(problem(), [], -2, 0) == []


def test_other_seeds_propose_other_trials() -> None:
    found = {propose(problem("Random"), [], 2, seed)[1].parameters["recipe.lr"] for seed in range(5)}
    assert len(found) == 5


def test_what_is_proposed_fits_the_trial_resource() -> None:
    for p in propose(problem(), [], 3, 0):
        Proposal(phase=p.phase, engine=p.engine, reason=p.reason)


def test_the_schema_offers_the_engines_that_there_are_and_no_other() -> None:
    offered = get_args(Search.model_fields["engine"].annotation)
    assert set(offered) == SUPPORTED_ENGINES


def test_an_engine_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="use one of Random, TPE"):
        propose(problem("Grid"), [], 1, 0)


def test_tpe_finds_better_trials_than_chance() -> None:
    def final_loss(engine: str, seed: int) -> float:
        seen = search(problem(engine, RATE, KEEP), seed, 40)
        return float(np.mean([o.rungs[0].metrics["loss"] for o in seen[-10:]]))

    tpe, random = ([final_loss(engine, seed) for seed in range(3)] for engine in ("TPE", "Random"))
    assert max(tpe) < min(random)


def test_a_short_study_uses_the_model_too() -> None:
    assert [start_trials(problem(trials=n)) for n in (1, 12, 24, 40, 1000)] == [4, 4, 6, 10, 10]
    seen = search(problem("TPE", RATE, KEEP, trials=12), 0, 4)
    assert propose(problem("TPE", RATE, KEEP, trials=12), seen, 1, 0)[0].reason.startswith("TPE: 4 results")


def test_tpe_keeps_away_from_what_breaks_a_ceiling() -> None:
    """The loss is low at high `keep`, where the latency ceiling is broken."""
    given = problem("TPE", KEEP, constraints=(Constraint("latency_p95_ms", 5.0),))
    seen = []
    for number in range(30):
        keep = number / 30
        metrics = {"loss": 1 - keep, "latency_p95_ms": 10 * keep}
        seen.append(Observation(number, {"data.keep": str(keep)}, (RungValues(0, metrics),), "Succeeded"))
    found = [float(propose(given, seen, 1, seed)[0].parameters["data.keep"]) for seed in range(20)]
    assert 0.3 < np.median(found) < 0.6


def test_tpe_keeps_away_from_what_fails() -> None:
    """A trial that ran out of memory has no measurements, but the search still learns its position."""
    given = problem("TPE", KIND, KEEP)

    def history(outcome: str) -> list[Observation]:
        seen = []
        for number in range(30):
            values = {"model.kind": "mlp" if number % 2 else "cnn", "data.keep": str(number / 30)}
            ok = (RungValues(0, {"loss": 1.0}),)
            bad = Observation(number, values, (), outcome)  # type: ignore[arg-type]
            seen.append(bad if number % 2 else Observation(number, values, ok, "Succeeded"))
        return seen

    def failing(outcome: str) -> int:
        picks = [propose(given, history(outcome), 1, seed)[0].parameters["model.kind"] for seed in range(40)]
        return picks.count("mlp")

    assert failing("Infeasible") < 10
    assert failing("Failed") < 10


def test_tpe_keeps_away_from_what_is_running() -> None:
    given = problem("TPE", KEEP)
    measured = [
        Observation(i, {"data.keep": str(i / 20)}, (RungValues(0, {"loss": abs(i / 20 - 0.5)}),), "Succeeded")
        for i in range(20)
    ]
    running = [Observation(20 + i, {"data.keep": str(0.5 + i / 1000)}) for i in range(1, 13)]

    def distance(seen: list[Observation]) -> float:
        return float(
            np.mean(
                [abs(float(propose(given, seen, 1, s)[0].parameters["data.keep"]) - 0.5) for s in range(30)]
            )
        )

    assert distance([*measured, *running]) > 1.3 * distance(measured)


@pytest.mark.parametrize("kind", ["cnn", "vit"])
def test_a_baseline_outside_the_space_does_not_stop_the_model(kind: str) -> None:
    baseline = {"model.kind": kind, "recipe.lr": "5"}
    given = Problem((KIND, RATE), baseline, (Objective("loss"),), trials=12, engine="TPE")
    seen: list[Observation] = []
    for number in range(8):
        (found,) = propose(given, seen, 1, 0)
        result = (RungValues(0, {"loss": float(number)}),)
        seen.append(Observation(number, found.parameters, result, "Succeeded"))
    assert seen[0].parameters == baseline
    assert seen[7].parameters["model.kind"] in {"cnn", "mlp"}


def test_nothing_is_logged_and_nothing_is_warned(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("optuna").propagate = True
    with caplog.at_level(logging.DEBUG):
        search(problem("TPE", RATE, KEEP, trials=12), 0, 8)
    assert not [r for r in caplog.records if r.name.startswith("optuna")]


def run(code: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    ).stdout


def test_importing_the_search_imports_no_engine() -> None:
    code = (
        "import sys, json, comptroller.search.propose, comptroller.search.halving, comptroller.search.front\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = set(json.loads(run(code)))
    assert "comptroller.search.tpe" in loaded
    assert not loaded & {"optuna", "torch", "kopf", "kubernetes", "sqlalchemy"}


def test_the_answer_is_the_same_in_another_process() -> None:
    code = """
from comptroller.search import *
from comptroller.search.propose import propose
from comptroller_api.space import Parameter, When
P = [Parameter(name=f"recipe.p{i}", type="Float", min="0", max="1",
               when=When(parameter="model.kind", values=["ab"[i % 2]])) for i in range(6)]
space = (Parameter(name="model.kind", type="Categorical", values=["a", "b", "c"]), *P)
problem = Problem(space, {}, (Objective("loss"), Objective("accuracy")), trials=24)
seen = []
for n in range(14):
    values = propose(problem, seen, 1, 7)[0].parameters
    metrics = {"loss": len(values) + sum(map(float, list(values.values())[1:])), "accuracy": n % 5}
    seen.append(Observation(n, values, (RungValues(0, metrics),), "Succeeded"))
print(propose(problem, seen, 3, 7))
"""
    first, second = run(code, PYTHONHASHSEED="1"), run(code, PYTHONHASHSEED="2")
    assert "TPE: 14 results" in first
    assert first == second
