"""Sidecars, replaced images and requests that nobody paid for end an attempt."""

from comptroller import actions as todo
from support.stage import of, running, stamp


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
