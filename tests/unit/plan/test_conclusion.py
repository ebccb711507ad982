"""The end of a study: Complete only if a trial succeeded; a fault that all trials share is paid for once."""

import pytest

from support.worlds import NOW, SmallWorld, study

GOOD = {"accuracy": 0.9}
LABEL = "data.label: column 'clas' does not exist; columns are: a, b, class"


def test_a_study_with_a_result_is_complete():
    world = SmallWorld()
    while world.open:
        world.end(metrics=GOOD)
    assert world.outcomes() == ["Succeeded"] * 4
    assert world.conditions["Complete"].reason == "TrialsDone"
    assert set(world.conditions) == {"Complete"}


def test_a_study_in_which_nothing_succeeded_has_failed_with_counts_and_the_first_reason():
    world = SmallWorld(study(search={"trials": 3}, runtime={"retries": 0}))
    while world.open:
        world.end(71, "out of memory: 2 GiB")
    assert set(world.conditions) == {"Failed", "Stalled"}
    failed = world.conditions["Failed"]
    assert failed.reason == "NoTrialSucceeded"
    assert "none of 3 trials succeeded (3 Infeasible); trial 0: " in failed.message
    assert "out of memory: 2 GiB" in failed.message


def test_a_ceiling_under_one_lease_fails_the_study_and_says_what_a_lease_holds():
    world = SmallWorld(study(ceiling="0.01"))
    failed = world.conditions["Failed"]
    assert failed.reason == "NoRoomForALease"
    assert (
        "the ceiling of 0.01 USD leaves no room for a lease, which holds at least 0.03 USD" in failed.message
    )
    world.amend(study(ceiling="5.00"))
    assert "Failed" not in world.conditions
    assert world.open


def test_a_ceiling_that_is_reached_before_any_result_fails_the_study_until_it_is_raised():
    world = SmallWorld(study(ceiling="0.10"))
    world.end(137, "", seconds=75, deadline=True)
    assert world.conditions["Failed"].reason == "NoTrialSucceeded"
    assert "the ceiling of 0.10 USD" in world.conditions["Failed"].message
    assert world.outcomes() == ["BudgetStopped"]
    world.amend(study(ceiling="5.00"))
    world.end(metrics=GOOD)
    while world.open:
        world.end(metrics=GOOD)
    assert world.conditions["Complete"].reason == "TrialsDone"


def test_a_reason_that_study_and_trial_share_is_printed_once():
    world = SmallWorld(study(ceiling="0.10"))
    world.end(137, "", seconds=75, deadline=True)
    assert world.conditions["Failed"].message.count("the ceiling of 0.10 USD") == 1


@pytest.mark.parametrize("begun", [True, False])
def test_a_study_that_is_too_old_says_so_once_and_lacks_no_money(begun):
    old = study(ceilings={"wallClock": "1s"})
    world = SmallWorld() if begun else SmallWorld(old, now=NOW + 1, server_now=NOW + 1)
    if begun:
        world.end(75, "")
        world.amend(old)
        world.end(75, "")
    failed = world.conditions["Failed"]
    assert failed.reason == "NoTrialSucceeded"
    assert failed.message.count("older than its wallClock ceiling 1s") == 1


def test_a_ceiling_that_is_reached_after_a_result_completes_the_study():
    world = SmallWorld(study(ceiling="0.10"))
    world.end(metrics=GOOD, seconds=75)
    assert world.conditions["Complete"].reason == "CeilingReached"


def test_an_ended_study_is_not_turned_back_by_an_edit_that_lets_nothing_run():
    world = SmallWorld(study(ceiling="0.10"))
    world.end(metrics=GOOD, seconds=75)
    world.amend(study(ceiling="0.10", suspend=True))
    assert set(world.conditions) == {"Complete"}


def test_the_baseline_runs_alone_until_it_has_been_through_the_whole_line():
    world = SmallWorld()
    assert [a.trial for a in world.open] == [0]
    world.end(metrics=GOOD)
    assert [a.trial for a in world.open] == [1, 2]


def test_until_something_works_trials_run_one_by_one():
    world = SmallWorld(study(runtime={"retries": 0}))
    world.end(71, "out of memory")
    assert [a.trial for a in world.open] == [1]
    world.end(metrics=GOOD)
    assert [a.trial for a in world.open] == [2, 3]


@pytest.mark.parametrize(
    "message", [LABEL, "model.family: 'mpl' is not known; known: mlp", "no such data set"]
)
def test_a_baseline_that_is_refused_for_what_every_trial_has_ends_the_study(message):
    world = SmallWorld()
    world.end(64, message)
    assert not world.open
    assert world.outcomes() == ["Failed"]
    failed = world.conditions["Failed"]
    assert failed.reason == "NoTrialSucceeded"
    assert failed.message == f"trial 0, the baseline, failed for a reason that every trial shares: {message}"


def test_a_baseline_without_an_objective_ends_the_study():
    world = SmallWorld(study(objectives=[{"metric": "energy_joules"}]))
    world.end(metrics=GOOD)
    assert world.outcomes() == ["MetricsLost"]
    assert world.conditions["Failed"].reason == "NoTrialSucceeded"
    assert "the report lacks energy_joules" in world.conditions["Failed"].message


def test_a_configuration_that_is_refused_fails_alone():
    world = SmallWorld()
    world.end(64, "model.width: 16 is not a multiple of 3")
    assert world.outcomes()[0] == "Failed"
    world.end(metrics=GOOD)
    world.end(64, LABEL)
    while world.open:
        world.end(metrics=GOOD)
    assert world.outcomes() == ["Failed", "Succeeded", "Failed", "Succeeded"]
    assert world.conditions["Complete"].reason == "TrialsDone"


def test_too_many_failures_fail_a_study_that_has_results_too():
    world = SmallWorld(study(search={"failureLimit": 2}))
    world.end(metrics=GOOD)
    world.end(64, "model.width: too odd")
    world.end(64, "model.width: too odd")
    world.end(75)
    assert world.conditions["Failed"].reason == "FailureLimitReached"
