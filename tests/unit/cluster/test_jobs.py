"""The Job of an attempt, and the tombstone of one that must never run, as they are built."""

from dataclasses import replace

import pytest

from comptroller.actions import Bury, Launch
from comptroller.cluster import jobs
from comptroller.ledger.names import AttemptKey
from comptroller_api.contract import IMAGE_ENV, TRACKING_ENV
from comptroller_api.pricelist import Toleration
from comptroller_api.study import Resources
from support.attempts import LAUNCH, STUDY, TRIAL, made, run_of, seconds


def test_the_deadline_of_the_job_is_the_lease_and_the_pods_own_is_the_longest_attempt():
    spec = made()["spec"]
    assert spec["activeDeadlineSeconds"] == 60
    assert spec["template"]["spec"]["activeDeadlineSeconds"] == 7200
    assert spec["backoffLimit"] == 0
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_a_lease_that_is_never_renewed_needs_nothing_of_the_image():
    spec = STUDY.spec
    lease = spec.runtime.lease.model_copy(update={"renewal": "Never"})
    runtime = spec.runtime.model_copy(update={"lease": lease})
    study = STUDY.model_copy(update={"spec": spec.model_copy(update={"runtime": runtime})})
    launch = Launch(study, TRIAL, LAUNCH.assignment, "i", LAUNCH.resources, {})
    body = jobs.job(launch, jobs.PodSettings({}))
    assert body["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 60


def test_a_trainer_pod_is_restricted_and_holds_no_token():
    spec = made()["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"] == container["resources"]["limits"]


def shaped(**resources):
    launch = replace(LAUNCH, resources=Resources(**resources))
    spec = jobs.job(launch, jobs.PodSettings({"NVIDIA_VISIBLE_DEVICES": "all"}))["spec"]["template"]["spec"]
    return spec, spec["containers"][0]


@pytest.mark.parametrize(
    ("resources", "hidden"),
    [
        ({}, True),
        ({"gpu": 1}, False),
        ({"gpu": 2, "gpu_resource": "nvidia.com/mig-1g.10gb"}, False),
        ({"gpu": 1, "gpu_resource": "amd.com/gpu"}, True),
    ],
)
def test_a_pod_that_did_not_pay_for_nvidias_gpus_sees_none(resources, hidden):
    _, container = shaped(**resources)
    devices = [e["value"] for e in container["env"] if e["name"] == "NVIDIA_VISIBLE_DEVICES"]
    assert devices == (["void"] if hidden else ["all"])


@pytest.mark.parametrize(("resources", "size"), [({}, "8Gi"), ({"ephemeral_storage": "100Gi"}, "100Gi")])
def test_the_disk_of_a_pod_is_bounded(resources, size):
    spec, container = shaped(**resources)
    for bound in container["resources"]["requests"], container["resources"]["limits"]:
        assert bound["ephemeral-storage"] == size
    assert all(v["emptyDir"] == {"sizeLimit": size} for v in spec["volumes"] if "emptyDir" in v)


def test_a_pod_selects_the_nodes_of_its_capacity_and_tolerates_their_taints():
    taints = (
        Toleration(key="spot", operator="Exists"),
        Toleration(key="gpu", value="yes", effect="NoExecute"),
    )
    launch = replace(LAUNCH, node_selector={"capacity": "spot"}, tolerations=taints)
    spec = jobs.job(launch, jobs.PodSettings({}))["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"capacity": "spot"}
    assert spec["tolerations"] == [
        {"key": "spot", "operator": "Exists"},
        {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoExecute"},
    ]


def test_secrets_are_referred_to_and_never_copied():
    (container,) = made()["spec"]["template"]["spec"]["containers"]
    secret = next(e for e in container["env"] if e["name"] == "AWS_SECRET_ACCESS_KEY")
    assert secret["valueFrom"] == {"secretKeyRef": {"name": "s3", "key": "AWS_SECRET_ACCESS_KEY"}}


def test_credentials_of_the_mlflow_server_come_from_the_studys_secret_if_it_has_them():
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
    (container,) = jobs.job(LAUNCH, jobs.PodSettings({TRACKING_ENV: "http://mlflow"}))["spec"]["template"][
        "spec"
    ]["containers"]
    assert [e["valueFrom"] for e in container["env"] if e["name"] in names] == [
        {"secretKeyRef": {"name": "s3", "key": name, "optional": True}} for name in names
    ]
    (container,) = made()["spec"]["template"]["spec"]["containers"]
    assert not {e["name"] for e in container["env"]} & {*names, TRACKING_ENV}


def test_the_trainer_gets_its_image_for_the_report():
    (container,) = made()["spec"]["template"]["spec"]["containers"]
    assert {"name": IMAGE_ENV, "value": container["image"]} in container["env"]


def test_a_name_with_a_tombstone_never_runs_and_is_over_at_once():
    body = jobs.tombstone(Bury(AttemptKey("u1", 1, 0), "s-u1-0001-0", "suspended", TRIAL), "team")
    assert body["spec"]["suspend"] is True
    assert body["spec"]["parallelism"] == 0
    body["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    run = run_of(body)
    assert run.ended is not None
    assert seconds(run) == []
    assert run.stop == "Suspended"


def test_a_tombstone_goes_with_what_is_left_of_its_owner():
    for owner, kinds in ((TRIAL, ["Trial"]), (STUDY, ["Study"]), (None, [])):
        body = jobs.tombstone(Bury(AttemptKey("u1", 1, 0), "s-u1-0001-0", "gone", owner), "team")
        assert [one["kind"] for one in body["metadata"]["ownerReferences"]] == kinds
        assert run_of(body | {"metadata": {**body["metadata"], "creationTimestamp": "2026-01-01T00:00:00Z"}})
