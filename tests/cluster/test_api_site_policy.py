"""The API server refuses studies below the floors and with other images, and the operator holds them."""

from typing import Any

import pytest

from support import manifests
from support.apiserver import ApiServer
from support.awaiting import eventually
from support.chart import CHART, LEDGER, applied, helm, removed, rendered
from support.policies import (
    ALLOWED,
    CONTROLLERS,
    CORE,
    IMAGE,
    NAME,
    OURS,
    TENANT,
    VALUES,
    accepted,
    ask,
    at,
    job,
    pod,
    refused,
    study,
)


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize(
    ("field", "value", "floor"),
    [("slack", "1ns", "5s"), ("slack", "4999ms", "5s"), ("gracePeriod", "1s", "2s")],
)
def test_a_lease_below_a_floor_is_refused(api_server: ApiServer, field: str, value: str, floor: str) -> None:
    body = manifests.change(study(lease={field: value}), {"metadata.name": "b"})
    sentence = refused(api_server, TENANT, "POST", at(OURS, "studies"), body)
    assert (
        f"spec.runtime.lease.{field}: {value} is below this cluster's floor of {floor}; set it to {floor}"
        in sentence
    )
    own = at(OURS, "studies", study()["metadata"]["name"])
    patch = {"spec": {"runtime": {"lease": {field: value}}}}
    assert f"spec.runtime.lease.{field}: {value}" in refused(api_server, TENANT, "PATCH", own, patch)


@pytest.mark.usefixtures("policed")
def test_an_image_that_is_not_allowed_is_refused_with_those_that_are(api_server: ApiServer) -> None:
    for image in ("evil/image:1", "registry.example.com/trainers-2/a:1", "comptroller-trainer:0.1.0-evil"):
        body = manifests.change(study(image=image), {"metadata.name": "b"})
        sentence = refused(api_server, TENANT, "POST", at(OURS, "studies"), body)
        assert (
            f"spec.runtime.image: {image} is not an allowed trainer image; allowed: {ALLOWED}, " in sentence
        )
    for image in (IMAGE, "comptroller-trainer:0.1.0", f"comptroller-trainer:0.1.0@sha256:{'0' * 64}"):
        body = manifests.change(study(image=image), {"metadata.name": "b"})
        accepted(ask(api_server, TENANT, "POST", at(OURS, "studies"), body))


@pytest.mark.usefixtures("policed")
def test_a_study_from_before_the_floors_can_still_be_suspended(api_server: ApiServer) -> None:
    where, body = at(OURS, "studies"), study(lease={"slack": "1s"}, image="old/image")
    body["metadata"]["name"] = "older"
    # As administrators of policies would: the binding is removed meanwhile.
    [binding] = [
        d
        for d in rendered(*VALUES)
        if d["metadata"]["name"] == "comptroller-studies" and "Binding" in d["kind"]
    ]
    removed(api_server, [binding])
    try:
        made = settled_without(api_server, where, body)
        accepted(made)
    finally:
        applied(api_server, binding, dry=False)
    try:
        refused(api_server, TENANT, "POST", where, manifests.change(body, {"metadata.name": "b"}))
        accepted(ask(api_server, TENANT, "PATCH", f"{where}/older", {"spec": {"suspend": True}}))
    finally:
        api_server.client.delete(f"{where}/older")


def settled_without(api_server: ApiServer, where: str, body: dict[str, Any]) -> Any:
    """Create an object once no policy refuses it any more."""
    return eventually(
        lambda: (answer := ask(api_server, TENANT, "POST", where, body, dry=False)).is_success and answer,
        20,
        "the policy is away",
    )


@pytest.mark.usefixtures("policed")
def test_a_trainer_pod_runs_no_other_image(api_server: ApiServer) -> None:
    other = job()["spec"]["template"]
    other["spec"]["containers"].append({"name": "sidecar", "image": "mesh/proxy"})
    where, user = at(CORE, "pods"), f"{CONTROLLERS}:job-controller"
    sentence = refused(api_server, user, "POST", where, pod("b", other, of_job=NAME))
    assert "mesh/proxy is not an allowed image of a trainer pod" in sentence


OFF = (
    "--set",
    LEDGER,
    "--set",
    "policies.managed.enabled=false,policies.operator.enabled=false",
    "--set",
    "policies.governed.enabled=false,policies.studies.enabled=false",
)


def named(documents: list[dict[str, Any]], kind: str) -> set[str]:
    return {d["metadata"]["name"].removeprefix("comptroller-") for d in documents if d["kind"] == kind}


def test_each_part_can_be_switched_off() -> None:
    every = {
        "approval",
        "managed",
        "imitations",
        "events",
        "pods",
        "records",
        "operator",
        "governed",
        "governance",
        "studies",
    }
    policy = "ValidatingAdmissionPolicy"
    assert named(rendered("--set", LEDGER), policy) == every
    assert named(rendered("--set", LEDGER), f"{policy}Binding") == every | {"governed-workloads"}
    assert named(rendered(*OFF), policy) == {"approval"}
    assert helm("lint", "--strict", str(CHART), *OFF).returncode == 0


def test_what_is_governed_needs_the_label_to_be_protected() -> None:
    run = helm("template", "c", str(CHART), "--set", LEDGER, "--set", "policies.managed.enabled=false")
    assert "policies.governed.enabled needs policies.managed.enabled" in run.stderr


def test_with_namespaces_given_the_policies_hold_there() -> None:
    documents = rendered("--set", LEDGER, "--set", "watchNamespaces={team-a}")
    where = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["team-a", "comptroller"]}
    everywhere = {"comptroller-approval", "comptroller-operator"}
    for one in documents:
        if one["kind"] == "ValidatingAdmissionPolicyBinding" and one["metadata"]["name"] not in everywhere:
            assert where in one["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"]


@pytest.mark.parametrize(
    "value",
    [
        "policies.managed.exec=Maybe",
        "policies.governed.resources={nvidia}",
        "lease.minSlack=5",
        "trainer.allowedImages={*}",
        "policies.governed.cpu=many",
        "policies.managd.enabled=false",
    ],
)
def test_a_wrong_value_of_a_policy_is_refused(value: str) -> None:
    assert helm("template", "c", str(CHART), "--set", LEDGER, "--set", value).returncode != 0
