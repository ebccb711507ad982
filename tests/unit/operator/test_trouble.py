"""Trouble that every trial would meet: ended early, shown in the study's condition, tried again later."""

from dataclasses import replace

import pytest

from comptroller.actions import Stop
from comptroller.world import Exit
from worlds import SmallWorld, study

GOOD = {"accuracy": 0.9}
PULL = "ImagePullBackOff: Back-off pulling image 'example.com/none:1'"
SECRET = "CreateContainerConfigError: secret 's3' not found"
QUOTA = "FailedCreate: pods 's-0' is forbidden: exceeded quota: team, requested: cpu=1, limited: cpu=0"
PLACE = "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu"


def show(world, message, *, scheduled):
    """Let the open attempt's run be stuck with `message`."""
    (attempt,) = world.open
    key = (attempt.study, attempt.trial, attempt.number)
    run = world.world.runs[key]
    begun = run.started if scheduled else None
    world.see(key, replace(run, scheduled=begun, exit=Exit(message=message)))
    world.settle()


def stops(world):
    return [action for action in world.asked if isinstance(action, Stop)]


def stop(world):
    """Let the stop that was asked for take effect."""
    (asked,) = stops(world)
    (attempt,) = world.open
    key = (attempt.study, attempt.trial, attempt.number)
    run = world.world.runs[key]
    world.see(key, replace(run, ended=world.world.now, stop=asked.end, stop_reason=asked.reason))
    world.settle()


@pytest.mark.parametrize(
    ("message", "scheduled", "seconds"),
    [(PULL, True, 60), (SECRET, True, 60), (QUOTA, False, 60), (PLACE, False, 180)],
)
def test_a_pod_that_cannot_begin_is_told_at_once_and_ended_early(message, scheduled, seconds):
    lease = {"lease": {"duration": "600s", "gracePeriod": "10s", "slack": "5s"}}
    world = SmallWorld(study(runtime=lease))
    show(world, message, scheduled=scheduled)
    reason = message.split(":")[0]
    assert world.trials[0].status.reason == message
    assert world.conditions["Reconciling"].reason == reason
    assert message in world.conditions["Reconciling"].message
    world.after(seconds - 1)
    assert not stops(world)
    world.after(1)
    stop(world)
    assert not world.open
    assert world.conditions["Stalled"].reason == reason
    assert f"trial 0: {message}; the next attempt is launched at 20" in world.conditions["Stalled"].message
    assert world.trials[0].status.outcome is None
    assert world.study.status.held == "0.00"


def test_storage_that_is_away_holds_the_study_longer_each_time_and_is_no_failure():
    world = SmallWorld()
    pauses = []
    for _ in range(5):
        world.end(69, "s3://bucket/artifacts: could not connect")
        assert world.conditions["Stalled"].reason == "StorageUnavailable"
        assert "could not connect" in world.conditions["Stalled"].message
        since = world.world.now
        while not world.open:
            world.after(5)
        pauses.append(world.world.now - since)
    assert pauses == [20, 40, 80, 160, 320]
    while world.open:
        world.end(metrics=GOOD)
    assert world.outcomes() == ["Succeeded"] * 4


def test_of_many_trials_that_lost_their_storage_one_finds_out_whether_it_is_back():
    world = SmallWorld(study(search={"parallel": 3}))
    world.end(metrics=GOOD)
    for number in (1, 2, 3):
        world.end(69, "could not connect", trial=number, seconds=1)
    assert not world.open
    while not world.open:
        world.after(5)
    assert len(world.open) == 1
    world.end(metrics=GOOD)
    assert len(world.open) == 2
    assert "Stalled" not in world.conditions


def test_one_pod_without_a_node_does_not_hold_a_study_that_runs():
    world = SmallWorld(study(search={"parallel": 2}))
    world.end(metrics=GOOD)
    world.end(None, PLACE, trial=1, deadline=True, seconds=60)
    key = next(k for k in world.world.runs if k[1] == 2)
    assert world.world.runs[key].ended is None
    assert "Stalled" not in world.conditions


def test_a_study_that_was_suspended_is_in_no_trouble_when_it_goes_on():
    world = SmallWorld()
    world.amend(study(suspend=True))
    (asked,) = stops(world)
    world.end(75, "", deadline=False)
    world.amend(study())
    assert world.open
    assert "Stalled" not in world.conditions
    assert asked.reason == "spec.suspend is true"
