"""An attempt ends by a report or with its node, never because time has passed."""

import pytest

from comptroller import actions as todo
from comptroller.ledger.entries import Adjust
from support.stage import COVERED, GRACE, KEY, LEASE, NAME, SLACK, of, running, stamp


def test_time_alone_ends_nothing_whose_kubelet_still_reports():
    stage = running(renewal="Never")
    stage.at(10 + COVERED + 3600)
    assert stage.attempt.open
    stage.lost_nodes = ("node-0",)
    stage.at(10 + COVERED + 3700)
    assert (stage.attempt.end, stage.spent) == ("NodeLost", COVERED)


def test_a_preempted_pod_whose_end_nobody_saw_is_billed_to_the_end_of_its_lease():
    stage = running(renewal="Never")
    stage.bodies.pop()
    pod = stage.pod(phase="Failed", reported=40)
    taken = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}
    pod["status"]["conditions"].append(taken | {"lastTransitionTime": stamp(30)})
    pod["status"]["containerStatuses"] = [{"name": "trainer", "state": {"running": {"startedAt": stamp(12)}}}]
    stage.at(10 + COVERED + 59)
    assert stage.attempt.open
    stage.at(10 + COVERED + 61)
    assert (stage.attempt.end, stage.spent) == ("NodeLost", COVERED)


@pytest.mark.parametrize(
    ("failed_at", "spent"), [(10 + 300, 300 + GRACE + SLACK), (10 + LEASE + 3700, COVERED)]
)
def test_a_pod_that_was_taken_away_is_billed_with_its_job_and_to_the_end_of_its_lease_at_most(
    failed_at, spent
):
    stage = running(renewal="Never")
    del stage.bodies[1]
    over = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    job = stage.bodies[0]
    job["status"] = {
        "startTime": stamp(10),
        "failed": 1,
        "conditions": [over | {"lastTransitionTime": stamp(failed_at)}],
    }
    stage.at(failed_at + GRACE + SLACK - 1)
    assert stage.attempt.open is (spent < COVERED)
    stage.at(failed_at + GRACE + SLACK)
    assert (stage.attempt.end, stage.spent) == ("LeaseExpired", spent)
    assert not any(getattr(entry, "overrun", False) for entry in stage.entries)


def test_a_pod_that_was_given_up_with_its_node_is_settled_at_the_end_of_its_lease():
    stage = running(renewal="Never")
    stage.bodies.pop()
    lost = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}
    pod = stage.pod(phase="Failed")
    pod["status"]["conditions"].append(lost | {"lastTransitionTime": stamp(200)})
    stage.at(10 + COVERED + 59)
    assert stage.attempt.open
    stage.at(10 + COVERED + 61)
    assert (stage.attempt.end, stage.spent) == ("NodeLost", COVERED)


@pytest.mark.parametrize("beyond", [5, 1000])
def test_what_is_found_after_an_attempt_was_closed_is_billed_before_it_may_go(beyond):
    stage = running(renewal="Never")
    stage.lost_nodes = ("node-0",)
    stage.at(10 + COVERED + 61)
    assert not stage.attempt.open
    stage.lost_nodes = ()
    stage.bodies.pop()
    end = 10 + COVERED + beyond
    stage.pod(phase="Failed", ended=end, code=137, reported=end + 1)
    actions = stage.at(end + 100)
    (late,) = of(Adjust, stage.entries)
    assert (late.seconds, stage.spent, stage.books.overruns) == (beyond, COVERED + beyond, 1)
    assert of(todo.Release, actions) == [todo.Release(NAME, "j1")]
    assert KEY in stage.books.adjustments
