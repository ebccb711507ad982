"""The trials that are promoted: worked examples."""

import pytest

from comptroller.search import Constraint, Objective, Observation, Problem, RungValues
from comptroller.search.halving import Decision, decide
from comptroller_api.space import Parameter

LEVEL = Parameter(name="recipe.level", type="Integer", min="0", max="999")


def problem(trials: int = 12, rungs: int = 2, eta: int = 3, *space: Parameter) -> Problem:
    return Problem(
        space or (LEVEL,),
        {},
        (Objective("accuracy"),),
        (Constraint("latency_p95_ms", 5.0),),
        tuple(range(1, rungs + 1)),
        eta,
        "Random",
        trials,
    )


def trial(number: int, *accuracies: float, outcome: str | None = None, latency: float = 1.0) -> Observation:
    rungs = tuple(RungValues(i, {"accuracy": a, "latency_p95_ms": latency}) for i, a in enumerate(accuracies))
    return Observation(number, {"recipe.level": str(number)}, rungs, outcome)  # type: ignore[arg-type]


def verdicts(given: Problem, *seen: Observation) -> dict[int, str]:
    return {n: d.verdict for n, d in decide(given, seen).items()}


def test_the_baseline_is_promoted_however_bad_it_is() -> None:
    seen = [trial(0, 0.01), *(trial(n, 0.5 + n / 100) for n in range(1, 10))]
    assert decide(problem(10), seen)[0] == Decision("Promote", 0, "rung 0: the baseline is always promoted")


def test_the_baseline_takes_no_other_trials_place() -> None:
    assert verdicts(problem(4), trial(0, 0.99), trial(1, 0.5), trial(2, 0.6), trial(3, 0.7)) == {
        0: "Promote", 1: "Prune", 2: "Prune", 3: "Promote",
    }  # fmt: skip


def test_a_single_rung_leaves_nothing_to_decide() -> None:
    assert decide(problem(3, 1), [trial(0, 0.5), trial(1, 0.6)]) == {}


def test_fewer_results_than_eta_wait_while_more_may_come_and_all_are_promoted_if_none_does() -> None:
    two = [trial(0, 0.5), trial(1, 0.1), trial(2, 0.2)]
    assert verdicts(problem(4), *two) == {0: "Promote", 1: "Wait", 2: "Wait"}
    assert verdicts(problem(3), *two) == {0: "Promote", 1: "Promote", 2: "Promote"}


def test_a_study_of_twelve_prunes_as_results_come_in() -> None:
    """With eleven trials in addition to the baseline and eta 3, three are promoted in the end."""
    given = problem(12)
    three = [trial(1, 0.5), trial(2, 0.4), trial(3, 0.6)]
    assert verdicts(given, trial(0, 0.1, 0.2), *three) == {1: "Wait", 2: "Wait", 3: "Promote"}
    six = [*three, trial(4, 0.3), trial(5, 0.45), trial(6, 0.7)]
    assert verdicts(given, *six) == {
        1: "Wait",
        2: "Prune",
        3: "Promote",
        4: "Prune",
        5: "Prune",
        6: "Promote",
    }
    eleven = [*six, *(trial(n, 0.2) for n in range(7, 12))]
    assert [n for n, v in verdicts(given, *eleven).items() if v == "Promote"] == [1, 3, 6]
    assert "Wait" not in verdicts(given, trial(0, 0.1), *eleven).values()


def test_a_trial_that_cannot_be_among_the_best_is_pruned_before_the_last_result() -> None:
    """At most one of five results is promoted; the second of four cannot be it."""
    decision = decide(problem(6), [trial(0, 0.1), *(trial(n, n / 10) for n in range(1, 5))])[3]
    assert decision == Decision("Prune", 0, "rung 0: place 2 of 4; it can no longer come into the best 1/3")


def test_a_used_up_space_ends_the_waiting() -> None:
    tiny = Parameter(name="recipe.level", type="Integer", min="0", max="2")
    seen = [trial(0, 0.5), trial(1, 0.1), trial(2, 0.2)]
    assert verdicts(problem(100, 2, 3, LEVEL), *seen)[1] == "Wait"
    assert verdicts(problem(100, 2, 3, tiny), *seen)[1] == "Promote"


def test_results_of_ended_trials_count_and_their_decisions_are_over() -> None:
    ended = [trial(n, 0.9, outcome="Pruned") for n in range(1, 6)]
    assert verdicts(problem(7), trial(0, 0.5), *ended, trial(6, 0.1)) == {0: "Promote", 6: "Prune"}


def test_a_trial_that_never_got_to_the_rung_is_not_waited_for() -> None:
    seen = [trial(1, 0.5), trial(2, 0.4), trial(3, 0.3), *(trial(n, outcome="Failed") for n in range(4, 12))]
    assert verdicts(problem(12), trial(0, 0.1), *seen) == {0: "Promote", 1: "Promote", 2: "Prune", 3: "Prune"}


def test_each_rung_is_its_own_contest() -> None:
    seen = [
        trial(1, 0.9, 0.90),
        trial(2, 0.8, 0.95),
        trial(3, 0.7, 0.91),
        *(trial(n, 0.1) for n in range(4, 10)),
    ]
    found = decide(problem(10, 3), [trial(0, 0.5, 0.5, 0.5), *seen])
    assert [(n, d.rung, d.verdict) for n, d in found.items()][:3] == [
        (1, 1, "Wait"), (2, 1, "Promote"), (3, 1, "Wait"),
    ]  # fmt: skip
    pruned = [trial(n, 0.1, outcome="Pruned") for n in range(4, 10)]
    found = decide(problem(10, 3), [trial(0, 0.5, 0.5, 0.5), *seen[:3], *pruned])
    assert {n: d.verdict for n, d in found.items()} == {1: "Prune", 2: "Promote", 3: "Prune"}


def test_a_broken_ceiling_ranks_behind_any_kept_one() -> None:
    seen = [trial(1, 0.99, latency=9.0), trial(2, 0.2), trial(3, 0.98, latency=6.0)]
    assert verdicts(problem(4), *seen, trial(0, 0.1)) == {0: "Promote", 1: "Prune", 2: "Promote", 3: "Prune"}


def test_ties_go_to_the_lower_number() -> None:
    assert verdicts(problem(4), trial(0, 0.5), *(trial(n, 0.5) for n in (1, 2, 3))) == {
        0: "Promote", 1: "Promote", 2: "Prune", 3: "Prune",
    }  # fmt: skip


def test_a_result_without_its_objective_is_not_promoted() -> None:
    blank = Observation(1, {"recipe.level": "1"}, (RungValues(0, {"latency_p95_ms": 1.0}),))
    assert decide(problem(12), [blank])[1] == Decision("Prune", 0, "rung 0: accuracy was not measured")


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_one_in_eta_is_promoted_in_the_end(eta: int) -> None:
    seen = [trial(n, (n * 37 % 101) / 101) for n in range(1, 25)]
    promoted = [n for n, v in verdicts(problem(25, 2, eta), trial(0, 0.0), *seen).items() if v == "Promote"]
    assert len(promoted) == 1 + 24 // eta
