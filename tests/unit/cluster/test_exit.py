"""The results of an ended pod: its report's digest, and a message that steers no terminal."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.cluster import runs
from comptroller.cluster.jobs import STOP, STOP_REASON
from comptroller.plan.settle import classify
from comptroller_api.contract import digest_line, report_digest

LABELS = {
    "comptroller.dev/study": "s",
    "comptroller.dev/study-uid": "s1",
    "comptroller.dev/trial": "1",
    "comptroller.dev/attempt": "0",
}
DIGEST = report_digest(digest_line(b"{}"))
JOB: dict[str, Any] = {
    "metadata": {
        "name": "s-s1-0001-0", "namespace": "team", "uid": "j1", "labels": LABELS, "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    },
    "spec": {"activeDeadlineSeconds": 60, "template": {"metadata": {"annotations": {}}}},
    "status": {"startTime": "2026-01-01T00:00:00Z"},
}  # fmt: skip


def pod(message: str, code: int = 1, **change):
    ended = {"exitCode": code, "finishedAt": "2026-01-01T00:01:00Z", "message": message}
    bound = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}
    return {
        "metadata": {"name": "s-s1-0001-0-x", "uid": "p1", "labels": LABELS, "annotations": {}},
        "spec": {},
        "status": {
            "phase": "Failed" if code else "Succeeded",
            "startTime": "2026-01-01T00:00:10Z",
            "conditions": [bound],
            "containerStatuses": [{"name": "trainer", "state": {"terminated": ended}}],
        }
        | change,
    }


def ended(*pods, **meta):
    body = copy.deepcopy(JOB)
    body["metadata"] |= meta
    found = runs.run(body, *pods)
    assert found is not None
    return found


def test_the_digest_of_the_report_is_read_and_is_no_trouble():
    found = ended(pod(digest_line(b"{}"), 0)).exit
    assert (found.report, found.message) == (DIGEST, "")


@pytest.mark.parametrize("message", ["", "done", "report sha256:123", "report sha256:" + "g" * 64])
def test_a_message_without_a_digest_gives_none(message):
    assert ended(pod(message, 0)).exit.report == ""


def test_a_near_miss_says_why_and_gives_the_digest_of_its_report():
    found = ended(pod(f"compress.must: 'gain' is not met\n{digest_line(b'{}')}", 66)).exit
    assert (found.report, found.message) == (DIGEST, "compress.must: 'gain' is not met")


def test_work_that_failed_vouches_for_nothing():
    assert ended(pod(digest_line(b"{}"), 1)).exit.report is None


def test_an_end_that_nobody_saw_is_unknown():
    assert ended().exit.report is None


def test_colours_and_cursor_moves_are_taken_out():
    found = ended(pod("\x1b[2J\x1b[31mloss is nan\x1b[0m\r\nsecond line")).exit
    assert found.message == "loss is nan second line"


WAITING = {"name": "trainer", "state": {"waiting": {"reason": "PodInitializing"}}}


def held_by(state, trainer=None):
    """Return a pod with an init container in this state; its trainer waits, unless in state `trainer`."""
    init = [{"name": "proxy-init", "state": state}]
    return pod(
        "",
        0,
        phase="Pending",
        containerStatuses=[WAITING | {"state": trainer or WAITING["state"]}],
        initContainerStatuses=init,
    )


def refused(code=None, **why):
    """Return a pod that its kubelet ended, with the exit code of its trainer if the trainer had begun."""
    body = pod("", code or 0, phase="Failed")
    if code is None:
        body["status"]["containerStatuses"] = []
    body["status"] |= why
    return body


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"waiting": {"reason": "PodInitializing"}}, ""),
        ({"running": {}}, ""),
        ({"terminated": {"exitCode": 0, "reason": "Completed"}}, ""),
        (
            {"waiting": {"reason": "ImagePullBackOff", "message": "no image"}},
            "ImagePullBackOff: init container proxy-init: no image",
        ),
        ({"terminated": {"exitCode": 3, "reason": "Error"}}, "Error: init container proxy-init: exit 3"),
    ],
)
def test_an_init_container_that_keeps_the_trainer_waiting_is_reported(state, says):
    assert ended(held_by(state)).exit.message == says
    begun = held_by(state, trainer={"running": {}})  # a native sidecar may fail while the trainer works
    assert ended(begun).exit.message == ""


@pytest.mark.parametrize(
    "reason", ["ImageInspectError", "SignatureValidationFailed", "RunContainerError", "PostStartHookError"]
)
def test_every_obstacle_to_a_containers_start_is_reported(reason):
    waiting = {"name": "trainer", "state": {"waiting": {"reason": reason, "message": "why"}}}
    assert ended(pod("", 0, phase="Pending", containerStatuses=[waiting])).exit.message == f"{reason}: why"


def test_a_pod_that_its_kubelet_did_not_take_has_not_begun_and_says_why():
    why = {"reason": "UnexpectedAdmissionError", "message": "no healthy devices present"}
    end, reason = classify(ended(refused(**why)))
    assert (end, reason) == ("Preempted", "NotStarted: UnexpectedAdmissionError: no healthy devices present")


def test_a_pod_that_used_more_disk_than_is_paid_for_failed_and_says_so():
    why = {"reason": "Evicted", "message": 'Usage of EmptyDir volume "tmp" exceeds the limit "8Gi".'}
    end, reason = classify(ended(refused(137, **why)))
    assert (end, reason) == ("Error", f"Evicted: {why['message']}")


@given(st.text(st.characters(codec=None), max_size=600), st.sampled_from([1, 64, 75, 137]))
def test_every_message_of_a_pod_can_be_shown(message, code):
    waiting = {"name": "trainer", "state": {"waiting": {"reason": "ErrImagePull", "message": message}}}
    unbound = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    lost = {"type": "DisruptionTarget", "status": "True", "reason": message or "x"}
    lost |= {"lastTransitionTime": "2026-01-01T00:00:10Z"}
    for one in (
        pod(message, code),
        pod("", code, containerStatuses=[waiting]),
        pod("", code, conditions=[unbound, lost]),
        refused(reason=message, message=message),
        held_by({"waiting": {"reason": message, "message": message}}),
    ):
        found = ended(one, annotations={STOP: "Suspended", STOP_REASON: message})
        for text in (found.exit.message, found.exit.disruption, found.exit.rejected, found.stop_reason):
            assert text.isprintable()
            assert len(text) <= 512
