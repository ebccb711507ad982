"""An attempt is billed to the end that was reported, whatever the clock of the pod's node says."""

import pytest

from comptroller.ledger.entries import Adjust
from support.stage import COVERED, T0, of, running, stamp


@pytest.mark.parametrize("step", [3600, 86_400, -3600, 20])
def test_a_clock_that_steps_while_a_pod_runs_is_bounded_by_when_its_end_was_reported(step):
    stage = running()
    stage.bodies.pop()
    stage.pod(phase="Succeeded", ended=310, clock=step, reported=311)
    stage.at(320)
    assert (stage.spent, stage.books.overruns) == (301, 0)


@pytest.mark.parametrize("reported", [310 + 7200, None])  # somebody may have taken managedFields away
@pytest.mark.parametrize("step", [3600, -3600])
def test_a_clock_that_nothing_bounds_is_billed_to_the_end_of_the_lease(step, reported):
    stage = running()
    stage.bodies.pop()
    stage.pod(phase="Succeeded", ended=310, clock=step, reported=reported)
    stage.at(320)
    assert (stage.spent, stage.books.overruns) == (COVERED, 0)


@pytest.mark.parametrize(("reported", "billed"), [(311, 301), (310 + 7200, COVERED)])
def test_a_clock_that_is_stepped_back_is_known_by_a_later_heartbeat(reported, billed):
    stage = running()
    stage.bodies.pop()
    stage.heard = T0 + 305
    stage.pod(phase="Succeeded", ended=310, clock=-100, reported=reported)
    stage.at(320)
    assert (stage.spent, stage.books.overruns) == (billed, 0)


def test_a_clock_that_is_off_and_does_not_step_changes_nothing():
    stage = running()
    stage.bodies.pop()
    pod = stage.pod(phase="Succeeded", ended=310, clock=3600, reported=311)
    pod["status"]["startTime"] = stamp(10 + 3600)
    stage.at(320)
    assert stage.spent == 300


UNKNOWN = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}


def never_started(reported=50):
    """Return a pod whose Secret is missing, after its Job's deadline has ended it."""
    stage = running(renewal="Never")
    stage.bodies.pop()
    pod = stage.pod(phase="Failed", reported=reported)
    pod["status"]["containerStatuses"][0]["state"] = {"terminated": UNKNOWN}
    return stage, pod


def job_failed(stage, at):
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    stage.bodies[0]["status"] |= {"conditions": [failed | {"lastTransitionTime": stamp(at)}], "failed": 1}


@pytest.mark.parametrize("seen_later", [56, 58, 65])
def test_an_end_that_is_estimated_is_billed_as_the_kubelet_reported_it_and_once(seen_later):
    stage, pod = never_started()
    stage.at(55)
    assert (stage.spent, stage.attempt.open) == (40, False)
    job_failed(stage, seen_later)  # the Job controller notices a moment later
    stage.at(seen_later)
    pod["metadata"]["managedFields"][0]["time"] = stamp(seen_later)  # and the kubelet writes again
    stage.at(seen_later + 1)
    assert of(Adjust, stage.entries) == []
    assert (stage.spent, stage.books.overruns) == (40, 0)


def test_an_end_that_nobody_reported_is_estimated_within_the_lease():
    stage, _ = never_started(reported=10 + COVERED + 7200)
    job_failed(stage, 10 + COVERED + 7200)
    stage.at(10 + COVERED + 7210)
    assert (stage.spent, stage.books.overruns) == (COVERED, 0)


def test_a_clock_that_runs_ahead_is_no_later_expense_once_the_kubelet_writes_again():
    stage = running()
    stage.bodies.pop()
    pod = stage.pod(phase="Succeeded", ended=310, clock=8, reported=311)
    stage.at(316)
    assert stage.spent == 301
    pod["metadata"]["managedFields"][0]["time"] = stamp(320)
    stage.at(321)
    assert of(Adjust, stage.entries) == []


@pytest.mark.parametrize("seconds", [5, 300])
def test_a_pod_that_was_kept_from_being_seen_is_billed_however_short_it_was(seconds):
    stage = running()
    stage.bodies.pop()
    stage.pod(phase="Failed", ended=110, code=75, reported=111)
    stage.at(116)
    assert stage.spent == 100
    stage.pod(bound=120, phase="Failed", ended=120 + seconds, code=137, uid="p2", reported=121 + seconds)
    stage.at(500)
    assert [late.seconds for late in of(Adjust, stage.entries)] == [seconds]
    assert stage.spent == 100 + seconds
