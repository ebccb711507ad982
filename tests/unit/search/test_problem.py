"""A study's spec as the search sees it."""

from comptroller.search import Constraint, Objective, Problem
from comptroller_api.study import StudySpec

SPEC = {
    "data": {"uri": "generated:mnist1d", "format": "MNIST1D"},
    "space": {"parameters": [{"name": "model.width", "type": "Integer", "min": "4", "max": "64"}]},
    "baseline": {"model.name": "cnn"},
    "objectives": [{"metric": "accuracy"}, {"metric": "artifact_bytes", "weight": "0.5"}],
    "ceilings": {
        "spend": {"amount": "25.00", "currency": "USD"},
        "latency": {"limit": "1500us", "quantile": "P99"},
        "artifactSize": "2Mi",
        "peakMemory": "512Mi",
        "wallClock": "2h",
    },
    "search": {"engine": "Random", "trials": 8, "rungs": {"epochs": [1, 3, 9], "eta": 2}},
    "runtime": {"nodeClass": "cpu"},
    "artifacts": {"uri": "s3://bucket/prefix"},
}


def test_a_spec_becomes_a_problem() -> None:
    spec = StudySpec.model_validate(SPEC)
    assert Problem.from_spec(spec) == Problem(
        parameters=tuple(spec.space.parameters),
        baseline={"model.name": "cnn"},
        objectives=(Objective("accuracy", 1.0), Objective("artifact_bytes", 0.5)),
        constraints=(
            Constraint("latency_p99_ms", 1.5),
            Constraint("artifact_bytes", 2.0 * 2**20),
            Constraint("peak_memory_bytes", 512.0 * 2**20),
        ),
        epochs=(1, 3, 9),
        eta=2,
        engine="Random",
        trials=8,
    )


def test_ceilings_that_are_not_set_constrain_nothing() -> None:
    spec = StudySpec.model_validate(SPEC | {"ceilings": {"spend": {"amount": "1", "currency": "USD"}}})
    assert Problem.from_spec(spec).constraints == ()


def test_accuracy_is_maximised_and_size_minimised() -> None:
    assert Objective("accuracy").maximised
    assert not Objective("artifact_bytes").maximised
