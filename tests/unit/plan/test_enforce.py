"""Fields that others write in Jobs and pods are set right again, or the attempt is stopped."""

import pytest

from comptroller import actions as todo
from comptroller.ledger.entries import Close
from support.stage import COVERED, LEASE, NAME, of, running, stamp


def test_a_raised_deadline_and_a_raised_grant_are_lowered_to_what_the_books_grant():
    stage = running()
    job, pod = stage.bodies
    job["spec"]["activeDeadlineSeconds"] = 21600
    pod["metadata"]["annotations"]["comptroller.dev/lease-seconds"] = "21600"
    actions = stage.at(30)
    assert of(todo.Extend, actions) == [todo.Extend(NAME, LEASE, "j1")]
    assert of(todo.Grant, actions) == [todo.Grant(NAME, LEASE, "j1")]


@pytest.mark.parametrize("deadline", [None, 1, 20])
def test_a_lowered_or_removed_deadline_is_set_again(deadline):
    stage = running()
    stage.bodies[0]["spec"]["activeDeadlineSeconds"] = deadline
    assert of(todo.Extend, stage.at(30)) == [todo.Extend(NAME, LEASE, "j1")]


def test_what_runs_on_after_its_lease_stays_open_is_expired_and_is_posted_as_it_was():
    stage = running(renewal="Never")
    job, pod = stage.bodies
    job["spec"]["activeDeadlineSeconds"] = 21600
    stage.bodies[1]["spec"] = pod["spec"] | {"activeDeadlineSeconds": 7200}
    actions = stage.at(10 + COVERED + 500)
    assert stage.attempt.open
    assert of(todo.Expire, actions) == [todo.Expire(NAME, "j1")]
    stage.bodies.pop()
    stage.pod(phase="Failed", ended=10 + COVERED + 520, code=137, reported=10 + COVERED + 521)
    stage.at(10 + COVERED + 530)
    assert (stage.spent, stage.books.overruns, stage.attempt.open) == (COVERED + 520, 1, False)


def test_an_attempt_that_outlives_its_lease_is_named_in_its_studys_condition():
    stage = running(renewal="Never")
    stage.bodies[0]["spec"]["activeDeadlineSeconds"] = 21600
    stage.bodies[1]["spec"] = stage.bodies[1]["spec"] | {"activeDeadlineSeconds": 7200}
    assert stage.conditions(10 + COVERED)["Reconciling"].reason == "Running"
    condition = stage.conditions(10 + COVERED + 1)["Reconciling"]
    assert condition.reason == "LeaseOverrun"
    assert (
        f"attempt {NAME} runs on after its lease, which was over at {stamp(10 + COVERED)}"
        in condition.message
    )
    assert "its pod's own deadline is being lowered so that the kubelet ends it" in condition.message
    stage.bodies[1]["spec"] = stage.bodies[1]["spec"] | {"activeDeadlineSeconds": 1}
    assert "own deadline was lowered" in stage.conditions(10 + COVERED + 60)["Reconciling"].message
    stage.study = stage.study.model_copy(
        update={"spec": stage.study.spec.model_copy(update={"suspend": True})}
    )
    held = stage.conditions(10 + COVERED + 61)["Stalled"]
    assert held.reason == "Suspended"
    assert NAME in held.message
    stage.lost_nodes = ("node-0",)
    assert "its node does not report" in stage.conditions(10 + COVERED + 2)["Stalled"].message


def test_a_noted_stop_is_enforced():
    stage = running()
    job, _ = stage.bodies
    job["metadata"]["annotations"] = {"comptroller.dev/stop": "Suspended"}
    job["spec"]["activeDeadlineSeconds"] = 21600
    (stop,) = of(todo.Stop, stage.at(30))
    assert (stop.name, stop.end, stop.uid) == (NAME, "Suspended", "j1")
    job["spec"]["activeDeadlineSeconds"] = 1
    assert of(todo.Stop, stage.at(40)) == []


def test_a_stop_that_no_operator_notes_is_no_end():
    stage = running()
    stage.bodies[0]["metadata"]["annotations"] = {"comptroller.dev/stop": "Finished"}
    assert of(todo.Stop, stage.at(30)) == []


@pytest.mark.parametrize("patch", [{"parallelism": 0}, {"suspend": True}])
def test_a_job_that_somebody_pauses_is_no_tombstone_and_is_stopped_for_good(patch):
    stage = running()
    stage.bodies[0]["spec"] |= patch
    (stop,) = of(todo.Stop, stage.at(587))
    assert stop.end == "Preempted"
    assert stage.attempt.open
    stage.bodies.pop()
    stage.pod(phase="Failed", ended=597, code=75, reported=598)
    assert of(Close, stage.entries) == []
    stage.bodies[0]["spec"]["activeDeadlineSeconds"] = 1
    stage.bodies[0]["metadata"]["annotations"] = {"comptroller.dev/stop": "Preempted"}
    stage.at(603)
    assert (stage.spent, stage.attempt.end) == (587, "Preempted")


def test_every_pod_of_a_job_that_was_suspended_and_resumed_is_billed():
    stage = running()
    stage.bodies.pop()
    stage.pod(bound=10, phase="Failed", ended=110, code=75, reported=111)
    stage.pod(bound=120, uid="p2")
    (stop,) = of(todo.Stop, stage.at(130))
    assert "2 pods" in stop.reason
    stage.bodies[0]["spec"]["activeDeadlineSeconds"] = 1
    stage.bodies.pop()
    stage.pod(bound=120, phase="Failed", ended=140, code=75, uid="p2", reported=141)
    stage.at(150)
    assert (stage.spent, stage.attempt.open) == (100 + 20, False)


def over_uncounted(stage, **status):
    """End the pod of `running` with a report; somebody took all finalizers off it, or its Job counted it."""
    stage.bodies.pop()
    stage.pod(phase="Succeeded", ended=110, reported=111, counted=False)["metadata"]["finalizers"] = []
    stage.bodies[0]["status"] |= status


def test_a_job_that_would_start_another_pod_is_stopped_before_its_books_are_closed():
    stage = running()
    over_uncounted(stage)
    (stop,) = of(todo.Stop, stage.at(112))
    assert "another would start" in stop.reason
    assert stage.attempt.open
    stage.bodies[0]["spec"]["activeDeadlineSeconds"] = 1
    stage.pod(bound=112, phase="Failed", ended=114, code=137, uid="p2", reported=115)
    stage.at(120)
    assert (stage.spent, stage.attempt.open) == (100 + 2, False)


@pytest.mark.parametrize(
    "status", [{"succeeded": 1}, {"uncountedTerminatedPods": {"succeeded": ["p1"]}}], ids=["counted", "noted"]
)
def test_a_pod_that_its_job_has_counted_is_over(status):
    stage = running()
    over_uncounted(stage, **status)
    assert of(todo.Stop, stage.at(112)) == []
    assert (stage.spent, stage.attempt.end) == (100, "Finished")


def test_labels_taken_off_a_job_end_it():
    stage = running()
    stage.bodies[0]["metadata"]["labels"] = {}
    (stop,) = of(todo.Stop, stage.at(30))
    assert "labels" in stop.reason
