"""A problem that every trial would meet is ended early, shown in the study's condition, and retried later."""

from dataclasses import replace

import pytest

from comptroller.actions import Stop
from comptroller.world import Exit
from support.worlds import SmallWorld, study

GOOD = {"accuracy": 0.9}
PULL = "ImagePullBackOff: Back-off pulling image 'example.com/none:1'"
SECRET = "CreateContainerConfigError: secret 's3' not found"
KEY = "CreateContainerConfigError: couldn't find key AWS_ACCESS_KEY_ID in Secret team/s3"
NAME = "InvalidImageName: Failed to apply default image tag 'UPPER:1'"
QUOTA = "FailedCreate: pods 's-0' is forbidden: exceeded quota: team, requested: cpu=1, limited: cpu=0"
PLACE = "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu"


def show(world, message, *, scheduled):
    """Let the open attempt's run be stuck with `message`."""
    (attempt,) = world.open
    key = attempt.key
    run = world.world.runs[key]
    begun = run.started if scheduled else None
    world.see(key, replace(run, scheduled=begun, exit=Exit(message=message)))
    world.settle()


def leased(duration):
    """Return a study with leases of this length."""
    return study(runtime={"lease": {"duration": duration, "gracePeriod": "10s", "slack": "5s"}})


def stops(world):
    return [action for action in world.undone if isinstance(action, Stop)]


def stop(world):
    """Let the requested stop take effect."""
    (action,) = stops(world)
    (attempt,) = world.open
    key = attempt.key
    run = world.world.runs[key]
    world.see(key, replace(run, ended=world.world.now, stop=action.end, stop_reason=action.reason))
    world.settle()


@pytest.mark.parametrize(
    ("message", "scheduled", "seconds"),
    [
        (PULL, True, 60),
        (SECRET, True, 15),
        (KEY, True, 15),
        (NAME, True, 15),
        (QUOTA, False, 60),
        (PLACE, False, 180),
    ],
)
def test_a_pod_that_cannot_begin_is_reported_at_once_and_ended_early(message, scheduled, seconds):
    world = SmallWorld(leased("600s"))
    show(world, message, scheduled=scheduled)
    reason = message.split(":")[0]
    assert world.trial_status().reason == message
    assert world.conditions["Reconciling"].reason == reason
    assert message in world.conditions["Reconciling"].message
    world.after(seconds - 1)
    assert not stops(world)
    world.after(1)
    stop(world)
    assert not world.open
    assert world.conditions["Stalled"].reason == reason
    assert f"trial 0: {message}; the next attempt is launched at 20" in world.conditions["Stalled"].message
    assert world.trial_status().outcome is None
    assert world.study_status.held == "0.00"


@pytest.mark.parametrize(
    ("message", "scheduled", "lease", "seconds"),
    [
        (PULL, True, 40, 30),
        (SECRET, True, 40, 15),
        (SECRET, True, 10, 5),
        (QUOTA, False, 40, 30),
        (PLACE, False, 120, 110),
    ],
)
def test_a_pod_that_cannot_begin_is_ended_before_its_lease_is(message, scheduled, lease, seconds):
    world = SmallWorld(leased(f"{lease}s"))
    show(world, message, scheduled=scheduled)
    world.after(seconds - 1)
    assert not stops(world)
    world.after(1)
    assert [action.reason for action in stops(world)] == [f"NotStarted: {message}"]


@pytest.mark.parametrize("message", ["", SECRET])
def test_attempts_whose_container_was_never_started_are_tried_again_later_each_time(message):
    world = SmallWorld(leased("40s"))
    pauses = []
    for _ in range(6):
        if message:
            show(world, message, scheduled=True)
        world.end(None, deadline=True, unstarted=True, seconds=40)
        assert not world.open
        word = message.split(":")[0] or "NotStarted"
        assert world.conditions["Stalled"].reason == word
        assert (message or "had not been started when its lease ended") in world.conditions["Stalled"].message
        since = world.world.now
        while not world.open:
            world.after(5)
        pauses.append(world.world.now - since)
    assert pauses == [20, 40, 80, 160, 320, 600]
    assert world.outcomes() == [None]
    while world.open:
        world.end(metrics=GOOD)
    assert world.outcomes() == ["Succeeded"] * 4


@pytest.mark.parametrize("fresh", [True, False])
def test_a_quotas_reason_outlives_the_job_that_it_refused(fresh):
    world = SmallWorld(leased("40s"))
    show(world, QUOTA, scheduled=False)
    (attempt,) = world.open
    key = attempt.key
    over = replace(world.world.runs[key], ended=world.world.now, exit=Exit(deadline=True))
    world.world = replace(world.world, fresh=fresh)
    world.see(key, over)  # the Job has failed, and its events are not read any more
    world.settle()
    world.world = replace(world.world, fresh=True)
    world.settle()
    closed = world.world.books.attempts("u1", 0)[0]
    assert (closed.end, closed.reason, closed.seconds) == ("LeaseExpired", QUOTA, 0)
    assert world.conditions["Stalled"].reason == "FailedCreate"
    assert f"trial 0: {QUOTA}; the next attempt" in world.conditions["Stalled"].message


def test_the_reason_of_a_wait_is_not_reported_of_an_attempt_that_worked():
    world = SmallWorld(leased("40s"))
    show(world, PULL, scheduled=True)
    world.end(75, deadline=True, seconds=40)
    assert world.world.books.attempts("u1", 0)[0].reason == "the lease ended"
    assert world.open


def test_unavailable_storage_holds_the_study_longer_each_time_and_is_no_failure():
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


def test_a_suspended_study_has_no_trouble_when_it_resumes():
    world = SmallWorld()
    world.amend(study(suspend=True))
    (action,) = stops(world)
    world.end(75, "", deadline=False)
    world.amend(study())
    assert world.open
    assert "Stalled" not in world.conditions
    assert action.reason == "spec.suspend is true"
