"""An attempt's run, as it is read from the Job and its pod."""

import pytest

from comptroller.cluster import jobs, runs
from comptroller.cluster.pods import TRACKING
from comptroller.plan.settle import classify
from comptroller_api.contract import GRANT_ANNOTATION
from support.attempts import made, pod, run_of, seconds


def test_a_job_of_someone_else_is_no_run():
    body = made()
    body["metadata"]["labels"] = body["spec"]["template"]["metadata"]["labels"] = {}
    assert runs.run(body) is None


@pytest.mark.parametrize("labels", [{}, {"comptroller.dev/trial": "2"}])
def test_labels_that_somebody_takes_off_or_edits_do_not_hide_an_attempt(labels):
    body = made()
    body["metadata"]["labels"] = labels
    found = run_of(body)
    assert (found.key, found.hidden) == (("u1", 1, 0), True)
    assert not run_of(made()).hidden


@pytest.mark.parametrize(
    ("terminated", "extra", "end"),
    [
        ({"exitCode": 0}, {}, "Finished"),
        ({"exitCode": 64, "message": "recipe.lr: 'x' is not a number"}, {}, "BadAssignment"),
        ({"exitCode": 65, "message": "recipe.lr: '100' made training diverge"}, {}, "Diverged"),
        ({"exitCode": 71}, {}, "OutOfMemory"),
        ({"exitCode": 137, "reason": "OOMKilled"}, {}, "OutOfMemory"),
        ({"exitCode": 75, "message": "the lease of 60 s is used up; stopped by SIGTERM"}, {}, "LeaseExpired"),
        ({"exitCode": 137}, {"reason": "DeadlineExceeded"}, "LeaseExpired"),
        ({"exitCode": 75}, {}, "Suspended"),
        ({"exitCode": 1}, {}, "Error"),
    ],
)
def test_an_attempts_end_follows_from_its_containers_end(terminated, extra, end):
    finished = pod("Failed", terminated=terminated | {"finishedAt": "2026-01-01T00:01:00Z"}, **extra)
    run = run_of(made(), finished)
    assert classify(run)[0] == end
    assert seconds(run) == [50]


def test_an_image_that_is_not_there_is_no_error_of_the_trainer_and_says_so():
    body, stuck = made(), pod("Failed", reason="DeadlineExceeded")
    stuck["status"]["containerStatuses"][0]["state"] = {
        "waiting": {"reason": "ErrImagePull", "message": "no such image"}
    }
    end, reason = classify(run_of(body, stuck))
    assert (end, reason) == ("LeaseExpired", "NotStarted: ErrImagePull: no such image")


UNKNOWN = {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None, "finishedAt": None}
"""The kubelet's report of a container that was never started, or that it cannot find any more."""


def test_a_container_that_was_never_started_leaves_no_exit_code():
    found = run_of(made(), pod("Failed", terminated=UNKNOWN, reason="DeadlineExceeded"))
    assert (found.exit.unstarted, found.exit.code) == (True, None)
    why = "NotStarted: its container had not been started when its lease ended"
    assert classify(found) == ("LeaseExpired", why)


@pytest.mark.parametrize(
    "ran",
    [{"containerID": "containerd://1"}, {"lastState": {"terminated": UNKNOWN}}, {"state": {"running": {}}}],
)
def test_a_container_that_was_lost_after_it_had_been_started_did_run(ran):
    lost = pod("Failed", terminated=UNKNOWN, reason="DeadlineExceeded")
    lost["status"]["containerStatuses"][0] |= ran
    found = run_of(made(), lost)
    assert not found.exit.unstarted
    assert classify(found) == ("LeaseExpired", "the lease ended")


def test_a_pod_that_its_kubelet_refuses_has_not_started_and_says_why():
    refused = pod("Failed", reason="OutOfcpu", message="Node didn't have enough resource: cpu")
    refused["status"]["containerStatuses"] = []
    why = "NotStarted: OutOfcpu: Node didn't have enough resource: cpu"
    assert classify(run_of(made(), refused)) == ("Preempted", why)


def test_a_pod_that_was_evicted_before_it_started_is_billed_until_its_kubelets_report():
    evicted = pod("Failed", terminated=UNKNOWN)
    lost = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
    evicted["status"]["conditions"].append(lost | {"lastTransitionTime": "2026-01-01T00:00:30Z"})
    found = run_of(made(), evicted)
    assert (seconds(found), found.certain) == ([20], False)
    entry = {"manager": "kubelet", "subresource": "status", "time": "2026-01-01T00:00:34Z"}
    evicted["metadata"]["managedFields"] = [entry]
    found = run_of(made(), evicted)
    assert (seconds(found), found.certain) == ([24], False)
    assert classify(found) == ("Preempted", "NotStarted: EvictionByEvictionAPI")


def test_a_disrupted_pod_is_preempted_or_lost():
    for reason, end in (("PreemptionByScheduler", "Preempted"), ("DeletionByTaintManager", "NodeLost")):
        gone = pod("Failed", terminated={"exitCode": 143, "finishedAt": "2026-01-01T00:01:00Z"})
        gone["status"]["conditions"].append(
            {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": reason,
                "lastTransitionTime": "2026-01-01T00:00:59Z",
            }
        )
        assert classify(run_of(made(), gone))[0] == end


def test_a_pod_that_is_still_terminating_is_not_over():
    body = made()
    failed = {
        "type": "Failed",
        "status": "True",
        "reason": "DeadlineExceeded",
        "lastTransitionTime": "2026-01-01T00:01:00Z",
    }
    body["status"] = {"startTime": "2026-01-01T00:00:05Z", "conditions": [failed]}
    assert run_of(body, pod("Running")).ended is None


def test_a_pod_that_never_reached_a_node_costs_nothing():
    waiting = pod("Pending", bound=None)
    waiting["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    run = run_of(made(), waiting)
    assert run.ended is not None
    assert seconds(run) == []


@pytest.mark.parametrize(
    ("phase", "tracked", "incomplete"),
    [("Running", True, False), ("Running", False, False), ("Failed", True, False), ("Failed", False, True)],
)
@pytest.mark.parametrize("counted", ["active", "terminating"])
def test_a_run_is_incomplete_if_its_job_counts_a_pod_that_is_not_in_sight(
    phase, tracked, incomplete, counted
):
    body, one = made(), pod(phase, terminated={"exitCode": 75} if phase == "Failed" else None)
    body["status"] = {counted: 1}
    one["metadata"]["finalizers"] = [TRACKING] if tracked else []
    assert run_of(body, one).incomplete is incomplete
    assert run_of(body).incomplete


def test_a_pod_whose_end_nobody_saw_is_billed_from_the_jobs_start():
    body = made()
    failed = {
        "type": "Failed",
        "status": "True",
        "reason": "DeadlineExceeded",
        "lastTransitionTime": "2026-01-01T00:01:05Z",
    }
    body["status"] = {"startTime": "2026-01-01T00:00:05Z", "conditions": [failed], "failed": 1}
    run = run_of(body)
    assert seconds(run) == [60]
    assert run.unseen
    assert not run_of(made()).unseen


def test_a_deleted_job_says_so_and_hides_no_stop():
    body = made()
    assert not run_of(body).deleted
    body["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    assert (run_of(body).deleted, run_of(body).stop) == (True, None)
    body["metadata"]["annotations"] = {jobs.STOP: "Suspended", jobs.STOP_REASON: "why"}
    assert (run_of(body).stop, run_of(body).stop_reason) == ("Suspended", "why")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "copied"},
        {"labels": {"comptroller.dev/trial": "01"}},
        {"labels": {"comptroller.dev/attempt": "-1"}},
        {"labels": {"comptroller.dev/trial": "2"}},
        {"labels": {"comptroller.dev/study": "other"}},
    ],
)
def test_a_job_that_only_carries_our_labels_is_not_an_attempt(change):
    body = made()
    meta = body["metadata"]
    labels = {**meta["labels"], **change.get("labels", {})}
    body["metadata"] = {**meta, **change, "labels": labels}
    body["spec"]["template"]["metadata"]["labels"] = labels
    assert runs.run(body) is None


def test_a_pod_without_a_node_says_why_and_its_lease_just_ends():
    waiting = pod("Pending", bound=None)
    waiting["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    ]
    found = run_of(made(), waiting)
    assert (found.exit.message, found.ended) == ("Unschedulable: 0/3 nodes", None)
    body = made()
    over = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    body["status"] = {"conditions": [{**over, "lastTransitionTime": "2026-01-01T00:02:00Z"}]}
    waiting["metadata"]["deletionTimestamp"] = "2026-01-01T00:02:00Z"
    ended = run_of(body, waiting)
    assert classify(ended) == ("LeaseExpired", "Unschedulable: 0/3 nodes")
    assert seconds(ended) == []


@pytest.mark.parametrize("reason", ["DeletionByPodGC", "DeletionByTaintManager"])
def test_a_pod_that_was_given_up_on_a_lost_node_is_not_known_to_be_over(reason):
    gone = pod("Failed")
    lost = {"type": "DisruptionTarget", "status": "True", "reason": reason}
    gone["status"]["conditions"].append({**lost, "lastTransitionTime": "2026-01-01T00:00:59Z"})
    assert run_of(made(), gone).ended is None


def test_what_is_billed_does_not_depend_on_the_clock_of_the_node():
    for start, finished in (("00:00:11", "00:01:01"), ("03:00:11", "03:01:01"), ("00:00:00", "00:00:50")):
        state = {"exitCode": 0, "finishedAt": f"2026-01-01T{finished}Z"}
        done = pod("Succeeded", terminated=state, startTime=f"2026-01-01T{start}Z")
        found = run_of(made(), done)
        assert seconds(found) == [50]


@pytest.mark.parametrize("by", ["kubelet", "job"])
def test_a_deadline_hides_no_exit_code(by):
    body, failed = made(), pod("Failed", terminated={"exitCode": 1, "finishedAt": "2026-01-01T00:01:00Z"})
    if by == "kubelet":
        failed["status"]["reason"] = "DeadlineExceeded"
    else:
        over = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
        body["status"] = {"conditions": [over | {"lastTransitionTime": "2026-01-01T00:01:05Z"}]}
    found = run_of(body, failed)
    assert (found.exit.code, found.exit.deadline) == (1, True)
    assert classify(found)[0] == "Error"


def test_a_deadline_is_known_before_the_last_pod_of_its_job_is_gone():
    body, killed = made(), pod("Failed", terminated={"exitCode": 137, "finishedAt": "2026-01-01T00:01:00Z"})
    assert classify(run_of(body, killed))[0] == "Error"
    ending = {"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}
    body["status"] = {"conditions": [ending | {"lastTransitionTime": "2026-01-01T00:00:50Z"}]}
    assert classify(run_of(body, killed))[0] == "LeaseExpired"


@pytest.mark.parametrize("text", ["soon", "-5", "1e9", "", "9" * 30])
def test_a_grant_that_somebody_overwrote_is_no_grant(text):
    running = pod("Running")
    running["metadata"]["annotations"][GRANT_ANNOTATION] = text
    assert run_of(made(), running).granted == 0


def test_a_pod_that_still_waits_for_a_node_is_not_over_with_its_job():
    """For example a pod that `kubectl delete job --cascade=orphan` left: it may still get a node."""
    body, waiting = made(), pod("Pending", bound=None)
    over = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    body["status"] = {"conditions": [over | {"lastTransitionTime": "2026-01-01T00:01:05Z"}]}
    assert run_of(body, waiting).ended is None


def test_a_deleted_job_whose_trainer_took_its_leave_was_stopped_from_outside():
    body = made()
    body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z"
    left = pod("Failed", terminated={"exitCode": 75, "finishedAt": "2026-01-01T00:01:00Z"})
    assert classify(run_of(body, left)) == ("Suspended", "stopped from outside")


def test_a_pod_that_has_a_node_is_billed_whatever_its_conditions_say():
    done = pod("Failed", bound=None, terminated={"exitCode": 137, "finishedAt": "2026-01-01T00:01:00Z"})
    done["status"]["startTime"] = "2026-01-01T00:00:10Z"
    done["spec"] = {"nodeName": "n"}
    found = run_of(made(), done)
    assert seconds(found) == [50]
