"""In governed namespaces, pods that request priced resources need a lease."""

from typing import Any

import pytest

from support.apiserver import ApiServer
from support.policies import (
    ADMIN,
    CONTROLLERS,
    CORE,
    GOVERNED,
    JOB,
    LABEL,
    LABELLER,
    NAME,
    NAMESPACE,
    NAMESPACED,
    PLATFORM,
    TENANT,
    WIDE,
    accepted,
    ask,
    at,
    job,
    pod,
    refused,
    settled,
    template,
    workload,
)


def gpu(resource: str = "nvidia.com/gpu", amount: str = "1") -> dict[str, Any]:
    return template(amounts={resource: amount})


def starting(resource: str) -> dict[str, Any]:
    first = {"name": "first", "image": "x", "resources": {"limits": {resource: "1"}}}
    return template(initContainers=[first])


def cores(*amounts: str, resource: str = "cpu") -> dict[str, Any]:
    containers = [
        {"name": f"c{place}", "image": "x", "resources": {"requests": {resource: amount}}}
        for place, amount in enumerate(amounts)
    ]
    return template(containers=containers)


def started(first: str, then: str, main: str, resource: str = "cpu", **spec: Any) -> dict[str, Any]:
    """Return a native sidecar, an init container after it, and the container after both."""
    requests = [{"requests": {resource: amount}} for amount in (first, then, main)]
    sidecar = {"name": "first", "image": "x", "restartPolicy": "Always", "resources": requests[0]}
    ending = {"name": "then", "image": "x", "resources": requests[1]}
    container = {"name": "main", "image": "x", "resources": requests[2]}
    return template(initContainers=[sidecar, ending], containers=[container], **spec)


CLASS = "deviceclass.resource.kubernetes.io/gpu.nvidia.com"
"""The resource by which a pod claims a device of a class without a claim of its own."""
PRICED = {
    "a GPU": (
        gpu(),
        f"nvidia.com/gpu in the governed namespace '{GOVERNED}' needs a lease: run this work as a Study",
    ),
    "a part of a GPU": (gpu("nvidia.com/mig-1g.10gb"), "nvidia.com/mig-1g.10gb"),
    "another vendor's GPU": (gpu("amd.com/gpu", "2"), "amd.com/gpu"),
    "a TPU": (gpu("google.com/tpu", "4"), "google.com/tpu"),
    "a GPU to start with": (starting("nvidia.com/gpu"), "nvidia.com/gpu"),
    "a device by claim": (
        template(resourceClaims=[{"name": "gpu", "resourceClaimName": "c"}]),
        "spec.resourceClaims",
    ),
    "a device by the name of its class": (gpu(CLASS), f"claims devices ({CLASS})"),
    "a device by the name of its class to start with": (starting(CLASS), f"claims devices ({CLASS})"),
    "five cores": (cores("5"), "more cpu than 4"),
    "five cores in three containers": (cores("2", "2", "1"), "more cpu than 4"),
    "five cores while it starts": (started("2500m", "2500m", "10m"), "more cpu than 4"),
    "a lot of memory while it starts": (started("9Gi", "8Gi", "1Mi", "memory"), "more memory than 16Gi"),
    "five cores of the whole pod": (template(resources={"requests": {"cpu": "5"}}), "more cpu than 4"),
    "five cores of the whole pod as a limit": (
        template(resources={"limits": {"cpu": "5"}}),
        "more cpu than 4",
    ),
    "a lot of memory": (cores("8Gi", "9Gi", resource="memory"), "more memory than 16Gi"),
}


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize(
    "user", [TENANT, WIDE, f"{CONTROLLERS}:job-controller", f"{CONTROLLERS}:replicaset-controller"]
)
@pytest.mark.parametrize("what", PRICED)
def test_in_a_governed_namespace_what_is_priced_needs_a_lease(
    api_server: ApiServer, what: str, user: str
) -> None:
    of, sentence = PRICED[what]
    where = at(CORE, "pods", namespace=GOVERNED)
    assert sentence in refused(api_server, user, "POST", where, pod("b", of))
    accepted(ask(api_server, user, "POST", at(CORE, "pods"), pod("b", of)))


@pytest.mark.usefixtures("policed")
def test_in_a_governed_namespace_the_rest_runs_and_so_do_leases(api_server: ApiServer) -> None:
    where = at(CORE, "pods", namespace=GOVERNED)
    for of in (
        template(),
        gpu(amount="0"),
        gpu("example.com/dongle"),
        cores("2", "2"),
        cores(*["100m"] * 30, "1"),
        cores("16Gi", resource="memory"),
        started("1", "3", "3"),
        template(initContainers=[cores("4")["spec"]["containers"][0] | {"name": "first"}]),
    ):
        accepted(ask(api_server, TENANT, "POST", where, pod("b", of)))
    leased = job()["spec"]["template"]
    leased["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "8"}}
    body = pod("b", leased, of_job=NAME)
    accepted(ask(api_server, f"{CONTROLLERS}:job-controller", "POST", where, body))
    assert LABEL in refused(api_server, TENANT, "POST", where, pod("b", leased))


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize("kind", ["Job", "CronJob", "Deployment", "StatefulSet"])
def test_the_author_of_a_workload_is_warned_that_its_pods_will_be_refused(
    api_server: ApiServer, kind: str
) -> None:
    answer = ask(api_server, TENANT, "POST", *workload(kind, gpu(), GOVERNED))
    accepted(answer)
    assert "a pod that asks for nvidia.com/gpu in the governed namespace" in answer.headers["Warning"]
    plain = ask(api_server, TENANT, "POST", *workload(kind, template(), GOVERNED))
    accepted(plain)
    assert "Warning" not in plain.headers


@pytest.mark.usefixtures("policed")
def test_the_overhead_of_a_runtime_class_counts(api_server: ApiServer) -> None:
    classes = "/apis/node.k8s.io/v1/runtimeclasses"
    meta, overhead = {"name": "policies-heavy"}, {"podFixed": {"cpu": "3"}}
    heavy = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": meta, "handler": "heavy"}
    accepted(ask(api_server, ADMIN, "POST", classes, heavy | {"overhead": overhead}, dry=False))
    try:
        where = at(CORE, "pods", namespace=GOVERNED)
        for amount, fits in (("1", True), ("2", False)):
            body = pod("b", cores(amount))
            accepted(ask(api_server, TENANT, "POST", where, body))
            body["spec"]["runtimeClassName"] = meta["name"]
            if fits:
                accepted(ask(api_server, TENANT, "POST", where, body))
            else:
                assert "more cpu than 4" in refused(api_server, TENANT, "POST", where, body)
    finally:
        accepted(ask(api_server, ADMIN, "DELETE", f"{classes}/{meta['name']}", dry=False))


@pytest.mark.usefixtures("policed")
def test_a_limit_in_a_template_counts_as_the_request_that_its_pods_get(api_server: ApiServer) -> None:
    of = template(amounts={"cpu": "5"})
    assert "requests" not in of["spec"]["containers"][0]["resources"]
    for kind in ("Deployment", "Job"):
        answer = ask(api_server, TENANT, "POST", *workload(kind, of, GOVERNED))
        accepted(answer)
        assert "more cpu than 4" in answer.headers["Warning"]


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize(("namespace", "value"), [(NAMESPACE, "true"), (GOVERNED, None), (GOVERNED, "false")])
@pytest.mark.parametrize("part", ["", "/status"])
def test_only_the_platform_team_decides_which_namespaces_are_governed(
    api_server: ApiServer, namespace: str, value: str | None, part: str
) -> None:
    patch = {"metadata": {"labels": {"comptroller.dev/governed": value}}}
    where = f"{CORE}/namespaces/{namespace}{part}"
    sentence = refused(api_server, LABELLER, "PATCH", where, patch)
    assert "those who have the verb 'govern' on budgets.comptroller.dev" in sentence
    accepted(ask(api_server, LABELLER, "PATCH", where, {"metadata": {"labels": {"team": "x"}}}))
    accepted(ask(api_server, ADMIN, "PATCH", where, patch))


@pytest.mark.usefixtures("policed")
def test_a_namespace_is_not_made_governed_by_others_and_the_label_has_two_values(
    api_server: ApiServer,
) -> None:
    meta = {"name": "b", "labels": {"comptroller.dev/governed": "true"}}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
    assert "'govern'" in refused(api_server, LABELLER, "POST", f"{CORE}/namespaces", body)
    accepted(ask(api_server, ADMIN, "POST", f"{CORE}/namespaces", body))
    meta["labels"] = {"comptroller.dev/governed": "yes"}
    assert "'yes' must be 'true' or 'false'" in refused(api_server, ADMIN, "POST", f"{CORE}/namespaces", body)


@pytest.mark.usefixtures("policed")
def test_the_platform_teams_role_counts_where_it_is_bound(api_server: ApiServer) -> None:
    where = f"{CORE}/namespaces/{NAMESPACE}"
    patch = {"metadata": {"labels": {"comptroller.dev/governed": "true"}}}
    accepted(settled(api_server, PLATFORM, "PATCH", where, patch))
    assert "in the whole cluster" in refused(api_server, NAMESPACED, "PATCH", where, patch)
    raised = {"spec": {"activeDeadlineSeconds": 90}}
    for user in (PLATFORM, NAMESPACED):
        accepted(settled(api_server, user, "PATCH", JOB, raised))
