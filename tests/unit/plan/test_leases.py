"""Another lease is only for a pod that has begun and has our guard."""

import pytest

from support.stage import LEASE, Stage, running, stamp


@pytest.mark.parametrize("begun", [True, False])
def test_only_a_pod_whose_container_has_begun_gets_another_lease(begun):
    stage = running()
    state = {"running": {"startedAt": stamp(12)}} if begun else {"waiting": {"reason": "ContainerCreating"}}
    stage.bodies[1]["status"]["containerStatuses"] = [{"name": "trainer", "state": state}]
    stage.at(10 + LEASE // 2 + 5)
    assert len(stage.attempt.leases) == 1 + begun


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
