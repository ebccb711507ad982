"""Changes of Jobs and pods by people, and the plan's reaction without admission policies."""

import pytest

from comptroller import actions as todo
from comptroller.cluster import jobs
from comptroller.ledger.entries import Adjust, Close, Start
from support.stage import GRACE, KEY, LEASE, SLACK, T0, Stage, of, stamp

NAME = "s-u1-0000-0"
COVERED = LEASE + GRACE + SLACK


def running(**how):
    stage = Stage(**how)
    stage.job()
    stage.pod()
    stage.at(20)
    assert of(Start, stage.entries)
    return stage


# -- fields that others may write ---------------------------------------------------------------------------


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
    stage.pod(phase="Succeeded", ended=110, reported=111)["metadata"]["finalizers"] = []
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


# -- the owner of an object ---------------------------------------------------------------------------------


def unowned(job):
    job["metadata"]["ownerReferences"] = []
    del job["spec"]["template"]["spec"]["containers"][0]["env"]


def requesting(name, amount):
    def ask(job):
        job["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {name: amount}}

    return ask


def claiming_devices(job):
    job["spec"]["template"]["spec"]["resourceClaims"] = [{"name": "gpus", "resourceClaimTemplateName": "8"}]


def called_as_a_tombstone(job):
    requesting("nvidia.com/gpu", "8")(job)
    job["spec"]["template"]["spec"]["containers"][0]["name"] = jobs.NOTHING


@pytest.mark.parametrize(
    "forge",
    [
        unowned,
        requesting("nvidia.com/gpu", "8"),
        requesting("amd.com/gpu", "1"),
        requesting("ephemeral-storage", "9Gi"),
        requesting("hugepages-2Mi", "4Mi"),
        claiming_devices,
        called_as_a_tombstone,
    ],
)
def test_a_job_of_somebody_else_under_an_attempts_name_is_not_the_attempt(forge):
    stage = Stage()
    forge(stage.job())
    stage.pod(phase="Succeeded", ended=300, reported=301)
    actions = stage.at(310)
    assert stage.spent == 0
    assert (stage.attempt.end, stage.attempt.started) == ("Suspended", 0)
    assert stage.attempt.reason.startswith(f"Job {NAME} ")
    assert of(todo.Release, actions) == []


def test_a_job_of_ours_without_its_owner_is_the_attempt_and_billed():
    stage = Stage()
    stage.job()["metadata"]["ownerReferences"] = []
    stage.pod(phase="Succeeded", ended=300, reported=301)
    stage.at(310)
    assert (stage.attempt.end, stage.spent) == ("Finished", 290)


def test_a_job_that_replaces_one_that_ran_is_not_the_attempt_and_ours_is_never_launched_again():
    stage = running()
    stage.bodies.clear()
    stage.job()["metadata"]["uid"] = "j2"
    stage.pod(job="j2", uid="p2")
    assert of(todo.Launch, stage.at(60)) == []
    assert of(todo.Bury, stage.at(60)) == []
    assert stage.attempt.open
    stage.at(10 + COVERED + 61)
    assert (stage.spent, stage.attempt.end) == (COVERED, "NodeLost")


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


# -- sidecars and unpaid resources ---------------------------------------------------------------------------


def test_a_sidecar_that_outlives_the_trainer_is_ended_and_its_time_is_billed():
    stage = running()
    stage.bodies.pop()
    pod = stage.pod(ended=60)
    pod["status"]["containerStatuses"].append({"name": "istio-proxy", "state": {"running": {}}})
    (stop,) = of(todo.Stop, stage.at(70))
    assert "another container" in stop.reason
    stage.bodies[0]["spec"]["activeDeadlineSeconds"] = 1
    stage.bodies[0]["metadata"]["annotations"] = {"comptroller.dev/stop": stop.end}
    stage.bodies.pop()
    over = stage.pod(phase="Failed", ended=60, reported=101)
    sidecar = {"exitCode": 137, "finishedAt": stamp(100)}
    over["status"]["containerStatuses"].append({"name": "istio-proxy", "state": {"terminated": sidecar}})
    stage.at(110)
    assert (stage.spent, stage.attempt.end) == (90, "Finished")


def test_a_pod_whose_image_was_replaced_is_stopped_and_its_own_deadline_is_lowered():
    stage = running()
    stage.bodies[1]["status"]["containerStatuses"] = [
        {"name": "trainer", "restartCount": 1, "state": {"running": {}}}
    ]
    (stop,) = of(todo.Stop, stage.at(30))
    assert "image of one of its containers was replaced" in stop.reason
    stage.bodies[0]["spec"]["activeDeadlineSeconds"] = 1
    stage.bodies[0]["metadata"]["annotations"] = {"comptroller.dev/stop": stop.end}
    assert of(todo.Expire, stage.at(31))


def test_a_pod_whose_only_container_has_ended_is_left_to_its_kubelet():
    stage = running()
    stage.bodies.pop()
    stage.pod(ended=60)
    assert of(todo.Stop, stage.at(61)) == []


def test_a_pod_that_requests_more_than_is_paid_for_is_ended_with_what_it_requests():
    stage = running()
    stage.bodies[1]["spec"] = stage.bodies[1]["spec"] | {
        "containers": [
            *stage.bodies[1]["spec"]["containers"],
            {"name": "proxy", "resources": {"requests": {"cpu": "100m"}}},
        ]
    }
    (stop,) = of(todo.Stop, stage.at(30))
    assert stop.end == "Error"
    assert "cpu: 1100m requested, 1000m paid for" in stop.reason


# -- clocks ------------------------------------------------------------------------------------------------


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


# -- running pods are never given up ------------------------------------------------------------------------


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


@pytest.mark.parametrize(("failed_at", "spent"), [(10 + 300, 300), (10 + LEASE + 3700, COVERED)])
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
    stage.at(failed_at + 5)
    assert (stage.attempt.end, stage.spent) == ("LeaseExpired", spent)
    assert not any(getattr(entry, "overrun", False) for entry in stage.entries)


@pytest.mark.parametrize("begun", [True, False])
def test_only_a_pod_whose_container_has_begun_gets_another_lease(begun):
    stage = running()
    state = {"running": {"startedAt": stamp(12)}} if begun else {"waiting": {"reason": "ContainerCreating"}}
    stage.bodies[1]["status"]["containerStatuses"] = [{"name": "trainer", "state": state}]
    stage.at(10 + LEASE // 2 + 5)
    assert len(stage.attempt.leases) == 1 + begun


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


# -- ends without a timestamp -------------------------------------------------------------------------------


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


# -- images without our guard ------------------------------------------------------------------------------


def test_a_foreign_images_pod_ends_with_its_lease_and_is_not_renewed():
    stage = Stage(image="somebody/else:1")
    job = stage.job()
    assert job["spec"]["template"]["spec"]["activeDeadlineSeconds"] == LEASE
    stage.pod()
    stage.at(500)
    assert len(stage.attempt.leases) == 1
    ours = running()
    ours.at(500)
    assert len(ours.attempt.leases) == 2
