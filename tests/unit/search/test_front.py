"""The front, the best trial, violations, and results that are carried to the last rung."""

import pytest

from comptroller.search import Constraint, Objective, Observation, Problem, RungValues
from comptroller.search.extrapolate import final_metrics
from comptroller.search.front import best, feasible, front, violation
from comptroller_api.trial import Outcome

SIZE_CEILING = Constraint("artifact_bytes", 500.0)


def problem(*objectives: Objective, rungs: int = 1, ceilings: tuple[Constraint, ...] = ()) -> Problem:
    given = objectives or (Objective("accuracy"), Objective("artifact_bytes"))
    return Problem((), {}, given, ceilings, tuple(range(1, rungs + 1)), trials=50)


def trial(number: int, accuracy: float, size: float, outcome: Outcome | None = "Succeeded") -> Observation:
    return Observation(number, {}, (RungValues(0, {"accuracy": accuracy, "artifact_bytes": size}),), outcome)


def test_the_front_runs_from_the_best_by_the_first_objective() -> None:
    seen = [trial(0, 0.8, 300), trial(1, 0.9, 900), trial(2, 0.7, 100), trial(3, 0.7, 200)]
    assert front(problem(), seen) == [1, 0, 2]


def test_only_what_succeeded_within_the_ceilings_is_on_the_front() -> None:
    seen = [trial(0, 0.9, 600), trial(1, 0.8, 500), trial(2, 0.9, 100, "Pruned"), trial(3, 0.9, 100, None)]
    assert front(problem(ceilings=(SIZE_CEILING,)), seen) == [1]
    assert best(problem(ceilings=(SIZE_CEILING,)), seen) == 1
    assert front(problem(ceilings=(SIZE_CEILING,)), [seen[0], *seen[2:]]) == []
    assert best(problem(ceilings=(SIZE_CEILING,)), [seen[0], *seen[2:]]) is None


def test_the_last_rung_counts() -> None:
    grown = Observation(
        1, {}, (RungValues(0, {"accuracy": 0.9}), RungValues(1, {"accuracy": 0.5})), "Succeeded"
    )
    steady = Observation(
        2, {}, (RungValues(0, {"accuracy": 0.1}), RungValues(1, {"accuracy": 0.6})), "Succeeded"
    )
    assert best(problem(Objective("accuracy"), rungs=2), [grown, steady]) == 2


def test_the_best_of_one_objective_is_the_best() -> None:
    seen = [trial(0, 0.8, 1), trial(1, 0.9, 9), trial(2, 0.9, 1)]
    assert best(problem(Objective("accuracy")), seen) == 1
    assert best(problem(Objective("artifact_bytes")), seen) == 0


@pytest.mark.parametrize(("accuracy", "size", "expected"), [(1, 1, 0), (10, 1, 1), (1, 10, 2)])
def test_the_weights_pick_the_best_from_the_front(accuracy: float, size: float, expected: int) -> None:
    given = problem(Objective("accuracy", accuracy), Objective("artifact_bytes", size))
    assert best(given, [trial(0, 0.88, 300), trial(1, 0.9, 900), trial(2, 0.7, 100)]) == expected


def test_units_do_not_weigh() -> None:
    small = [trial(0, 0.88, 3), trial(1, 0.9, 9), trial(2, 0.7, 1)]
    large = [
        trial(o.number, o.rungs[0].metrics["accuracy"], o.rungs[0].metrics["artifact_bytes"] * 1e6)
        for o in small
    ]
    assert best(problem(), small) == best(problem(), large) == 0


def test_a_long_front_is_thinned_where_it_is_crowded_and_keeps_its_ends() -> None:
    line = [trial(n, n / 100, float(n)) for n in (0, 50, 51, 52, 100)]
    assert front(problem(), line) == [100, 52, 51, 50, 0]
    assert front(problem(), line, most=4) == [100, 52, 50, 0]
    assert front(problem(), line, most=3)[::2] == [100, 0]


def test_a_violation_says_what_was_passed_and_by_what() -> None:
    given = problem(ceilings=(SIZE_CEILING, Constraint("latency_p95_ms", 20.0)))
    assert violation(given, {"artifact_bytes": 500, "latency_p95_ms": 20}) == ""
    assert feasible(given, {"artifact_bytes": 500, "latency_p95_ms": 20})
    assert violation(given, {"artifact_bytes": 512, "latency_p95_ms": 23.1}) == (
        "artifact_bytes 512 is over its ceiling 500; latency_p95_ms 23.1 is over its ceiling 20"
    )


def test_a_ceiling_that_was_not_measured_is_not_kept() -> None:
    given = problem(ceilings=(SIZE_CEILING,))
    expected = "artifact_bytes was not measured, so its ceiling 500 is not known to be kept"
    assert violation(given, {}) == expected
    assert violation(given, {"artifact_bytes": float("nan")}) == expected
    assert not feasible(given, {})


def test_an_early_result_is_carried_on_by_what_others_gained() -> None:
    def curve(number: int, *accuracies: float) -> Observation:
        return Observation(
            number,
            {},
            tuple(RungValues(i, {"accuracy": a, "artifact_bytes": 7.0}) for i, a in enumerate(accuracies)),
        )

    seen = [curve(0, 0.50, 0.60, 0.65), curve(1, 0.40, 0.60), curve(2, 0.30, 0.60), curve(3, 0.20), curve(4)]
    found = final_metrics(problem(rungs=3), seen)
    assert {n: round(m["accuracy"], 6) for n, m in found.items()} == {0: 0.65, 1: 0.65, 2: 0.65, 3: 0.45}
    assert {m["artifact_bytes"] for m in found.values()} == {7.0}
