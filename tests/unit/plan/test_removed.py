"""An attempt whose Job or pod somebody took away is billed, stopped, and never launched again."""

import pytest

from comptroller import actions as todo
from comptroller.ledger.entries import Close
from support.stage import COVERED, NAME, T0, of, running


@pytest.mark.parametrize("second", [15, 595, 10 + COVERED + 59])
def test_an_attempt_whose_job_and_pod_were_taken_away_is_never_launched_again(second):
    stage = running(renewal="Never")
    stage.bodies.clear()
    actions = stage.at(second)
    assert of(todo.Launch, actions) == []
    assert of(todo.Bury, actions) == []
    assert stage.attempt.open
    stage.at(10 + COVERED + 200)
    assert (stage.spent, stage.attempt.end, stage.books.overruns) == (COVERED, "NodeLost", 0)
    # The attempt is billed from when its pod reached a node, even if that is noticed late.
    (close,) = of(Close, stage.entries)
    assert (close.started, close.ended) == (T0 + 10, T0 + 10 + COVERED)


def test_only_a_fresh_read_gives_up_what_was_taken_away():
    stage = running()
    stage.bodies.clear()
    assert of(todo.Refresh, stage.at(2000, fresh=False))
    assert stage.attempt.open


def test_pods_that_were_orphaned_without_a_finalizer_are_seen_billed_and_stopped():
    stage = running()
    pod = stage.bodies.pop()
    stage.bodies.clear()
    pod["metadata"] |= {"ownerReferences": [], "finalizers": []}
    stage.bodies.append(pod)
    (stop,) = of(todo.Stop, stage.at(60))
    assert (stop.name, stop.uid) == (NAME, "j1")
    assert stage.attempt.open


def test_a_pod_without_a_job_and_a_grant_is_stopped_once():
    stage = running()
    pod = stage.bodies.pop()
    stage.bodies.clear()
    pod["metadata"] |= {"ownerReferences": [], "finalizers": [], "annotations": {}}
    stage.bodies.append(pod)
    (stop,) = of(todo.Stop, stage.at(60))
    pod["spec"]["activeDeadlineSeconds"] = 1
    pod["metadata"]["annotations"] = {"comptroller.dev/stop": stop.end}
    assert of(todo.Stop, stage.at(61)) == []


def test_a_suspended_job_whose_pod_was_taken_away_is_let_go_once_its_books_are_closed():
    stage = running(renewal="Never")
    job = stage.bodies[0]
    stage.bodies[:] = [job]
    job["spec"] |= {"suspend": True, "activeDeadlineSeconds": 1}
    job["metadata"]["annotations"] = {"comptroller.dev/stop": "Preempted"}
    stage.at(10 + COVERED + 61)
    assert stage.attempt.end == "NodeLost"
    assert of(todo.Release, stage.at(10 + COVERED + 62)) == [todo.Release(NAME, "j1")]
