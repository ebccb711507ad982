"""The chart renders, the API server accepts it, and its roles allow what they should and no more."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from comptroller.settings import Settings
from support import manifests
from support.apiserver import ApiServer, free_ports
from support.chart import CHART, LEDGER, NAMESPACE, OPERATOR, applied, bound, helm, removed, rendered

EVERYTHING = ("--values", str(CHART / "ci" / "all-values.yaml"))
POLICY = "ValidatingAdmissionPolicy"
VALUES = pytest.mark.parametrize("words", [("--set", LEDGER), EVERYTHING], ids=["the least", "everything"])


def one(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    [found] = [document for document in documents if document["kind"] == kind]
    return found


@VALUES
def test_helm_finds_no_fault(words: tuple[str, ...]) -> None:
    run = helm("lint", "--strict", str(CHART), *words)
    assert run.returncode == 0, run.stdout


@VALUES
@pytest.mark.usefixtures("namespaces")
def test_the_api_server_takes_every_object(api_server: ApiServer, words: tuple[str, ...]) -> None:
    for document in rendered(*words):
        if document["apiVersion"] != "monitoring.coreos.com/v1":
            applied(api_server, document, dry=True)


@VALUES
@pytest.mark.usefixtures("namespaces")
def test_the_pod_passes_the_restricted_standard(api_server: ApiServer, words: tuple[str, ...]) -> None:
    template = one(rendered(*words), "Deployment")["spec"]["template"]
    template["spec"].pop("priorityClassName", None)
    template["spec"]["serviceAccountName"] = "default"
    metadata = {"name": "operator", "namespace": NAMESPACE, "labels": template["metadata"]["labels"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    applied(api_server, pod, dry=True)


def test_a_ledger_is_required() -> None:
    run = helm("template", "comptroller", str(CHART))
    assert "ledger.uri is required: s3://bucket/prefix of the ledger" in run.stderr


@pytest.mark.parametrize(
    "value",
    [
        "ledger.uri=https://bucket", "s3.endpoint=minio:9000", "image.pulPolicy=Always", "crds.install=maybe",
        "operator.resyncSeconds=0", "replicas=2",
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused(value: str) -> None:
    assert helm("template", "comptroller", str(CHART), "--set", LEDGER, "--set", value).returncode != 0


def test_every_setting_can_be_set() -> None:
    container = one(rendered(*EVERYTHING), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    given = {variable["name"] for variable in container["env"]}
    assert {f"COMPTROLLER_{name.upper()}" for name in Settings.model_fields} <= given


def test_crds_stay_when_the_release_goes() -> None:
    policy = "helm.sh/resource-policy"
    kept = [d for d in rendered("--set", LEDGER) if d["kind"] == "CustomResourceDefinition"]
    assert [d["metadata"]["annotations"][policy] for d in kept] == ["keep"] * 4
    loose = rendered("--set", LEDGER, "--set", "crds.keep=false")
    assert not any("annotations" in d["metadata"] for d in loose if d["kind"] == "CustomResourceDefinition")
    without = rendered("--set", LEDGER, "--set", "crds.install=false")
    assert not any(d["kind"] == "CustomResourceDefinition" for d in without)


def test_with_namespaces_given_every_policy_but_the_operators_own_ends_there() -> None:
    bindings = {
        document["metadata"]["name"]: document["spec"].get("matchResources", {}).get("namespaceSelector", {})
        for document in rendered(*EVERYTHING)
        if document["kind"] == f"{POLICY}Binding"
    }
    policies = [document for document in rendered(*EVERYTHING) if document["kind"] == POLICY]
    assert {one["metadata"]["name"] for one in policies} <= set(bindings)
    watched = {
        "key": "kubernetes.io/metadata.name",
        "operator": "In",
        "values": ["team-a", "team-b", NAMESPACE],
    }
    unbound = [name for name, where in bindings.items() if watched not in where.get("matchExpressions", [])]
    assert unbound == ["comptroller-operator"]


RESOURCES = {
    "comptroller.dev": ["studies", "studies/status", "trials", "trials/status", "budgets", "pricelists"],
    "batch": ["jobs"],
    "": ["pods", "pods/exec", "pods/proxy", "events", "secrets", "configmaps", "namespaces"],
    "rbac.authorization.k8s.io": ["roles"],
}
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete")
MEANT = {
    "studies": {"get", "list", "watch", "patch"},
    "studies/status": {"patch"},
    "trials": {"get", "list", "watch", "create"},
    "trials/status": {"patch"},
    "budgets": {"get", "list", "watch"},
    "pricelists": {"get", "list", "watch"},
    "jobs": {"get", "list", "watch", "create", "patch"},
    "pods": {"get", "list", "watch", "patch"},
    "events": {"create", "list"},
}


def may(api_server: ApiServer, user: str, namespace: str, **what: str) -> bool:
    resource, _, sub = what["resource"].partition("/")
    attributes = {**what, "resource": resource, "subresource": sub, "namespace": namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }
    answer = api_server.client.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", json=review)
    allowed: bool = answer.raise_for_status().json()["status"]["allowed"]
    return allowed


def allowed(api_server: ApiServer, user: str, namespace: str) -> dict[str, set[str]]:
    out: dict[str, set[str]] = {}
    for group, resources in RESOURCES.items():
        for resource, verb in product(resources, VERBS):
            if may(api_server, user, namespace, group=group, resource=resource, verb=verb):
                out.setdefault(resource, set()).add(verb)
    return out


def settled(find: Callable[[], Any], meant: Any) -> Any:
    """Return the result of `find` once it is `meant`, or at the limit: authorizers watch roles."""
    deadline = time.monotonic() + 30
    while (found := find()) != meant and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def install_roles(api_server: ApiServer, *words: str) -> list[dict[str, Any]]:
    documents = [d for d in rendered(*words) if d["apiVersion"].startswith("rbac.")]
    for document in documents:
        applied(api_server, document, dry=False)
    return documents


@pytest.mark.usefixtures("namespaces")
def test_the_operator_may_do_what_it_needs_and_no_more(api_server: ApiServer) -> None:
    documents = install_roles(api_server, "--set", LEDGER)
    try:
        assert settled(lambda: allowed(api_server, OPERATOR, "team-a"), MEANT) == MEANT
        kube_system = {"group": "", "resource": "namespaces", "verb": "get", "name": "kube-system"}
        assert settled(lambda: may(api_server, OPERATOR, "", **kube_system), meant=True)
    finally:
        removed(api_server, documents)


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("words", [(), ("--set", "watchNamespaces={team-a}")], ids=["all", "one"])
def test_the_operator_publishes_heads_in_its_own_namespace_alone(
    api_server: ApiServer, words: tuple[str, ...]
) -> None:
    documents = install_roles(api_server, "--set", LEDGER, *words)

    def verbs(namespace: str) -> set[str]:
        what = {"group": "", "resource": "configmaps"}
        return {verb for verb in VERBS if may(api_server, OPERATOR, namespace, **what, verb=verb)}

    try:
        assert settled(lambda: verbs(NAMESPACE), {"get", "create", "patch"}) == {"get", "create", "patch"}
        assert verbs("team-a") == set()
    finally:
        removed(api_server, documents)


@pytest.mark.usefixtures("namespaces")
def test_with_namespaces_given_its_rights_end_there(api_server: ApiServer) -> None:
    documents = install_roles(
        api_server, "--set", LEDGER, "--set", "watchNamespaces={team-a}", "--set", "clusterId=x"
    )
    try:
        everywhere = {"namespaces": {"list", "watch"}, "pricelists": {"get", "list", "watch"}}
        for namespace, meant in (("team-a", MEANT | everywhere), ("team-b", everywhere)):
            assert settled(partial(allowed, api_server, OPERATOR, namespace), meant) == meant
        kube_system = {"group": "", "resource": "namespaces", "verb": "get", "name": "kube-system"}
        assert not settled(lambda: may(api_server, OPERATOR, "", **kube_system), meant=False)
    finally:
        removed(api_server, documents)


@pytest.mark.parametrize(
    ("role", "resource", "verbs"),
    [
        ("study-viewer", "studies", {"get", "list", "watch"}),
        ("study-viewer", "budgets", {"get", "list", "watch"}),
        ("study-editor", "studies", set(VERBS)),
        ("study-editor", "trials", {"get", "list", "watch", "delete"}),
        ("study-editor", "budgets", {"get", "list", "watch"}),
        ("budget-admin", "budgets", set(VERBS)),
        ("budget-admin", "studies", {"get", "list", "watch", "patch"}),
    ],
)
@pytest.mark.usefixtures("namespaces")
def test_roles_for_people(api_server: ApiServer, role: str, resource: str, verbs: set[str]) -> None:
    documents = install_roles(api_server, "--set", LEDGER)
    binding = bound(role, "team-a")
    applied(api_server, binding, dry=False)
    try:
        what = {"group": "comptroller.dev", "resource": resource}
        assert verbs == settled(
            lambda: {verb for verb in VERBS if may(api_server, role, "team-a", **what, verb=verb)}, verbs
        )
    finally:
        removed(api_server, [*documents, binding])


def test_without_the_policy_that_protects_trials_a_tenants_role_does_not_delete_them() -> None:
    documents = rendered(
        "--set", LEDGER, "--set", "policies.managed.enabled=false,policies.governed.enabled=false"
    )
    roles = [one for one in documents if one["kind"] == "ClusterRole"]
    rules = [rule for role in roles for rule in role["rules"] if "trials" in rule["resources"]]
    assert rules
    assert not any({"delete", "deletecollection"} & set(rule["verbs"]) for rule in rules)


@pytest.fixture
def kubeconfig(api_server: ApiServer, tmp_path: Path) -> Path:
    """Return the credentials of the operator's service account."""
    account = {"name": "comptroller", "namespace": NAMESPACE}
    applied(api_server, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}, dry=False)
    where = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/comptroller/token"
    answer = api_server.client.post(where, json={"spec": {"expirationSeconds": 3600}}).raise_for_status()
    token = answer.json()["status"]["token"]
    server = {"server": str(api_server.client.base_url).rstrip("/"), "insecure-skip-tls-verify": True}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "operator",
        "clusters": [{"name": "server", "cluster": server}],
        "users": [{"name": "operator", "user": {"token": token}}],
        "contexts": [{"name": "operator", "context": {"cluster": "server", "user": "operator"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Run an object store with the buckets of a study; return the address for artifacts."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {"ENDPOINT_URL_S3": f"http://{host}:{port}", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "test")
    for bucket in ("artifacts", "datasets"):
        boto3.client("s3").create_bucket(Bucket=bucket)
    boto3.client("s3").put_object(Bucket="datasets", Key="mnist/train", Body=b"1")
    yield "s3://artifacts"
    server.stop()


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize(
    "words", [(), ("--set", "watchNamespaces={team-a}")], ids=["everywhere", "one namespace"]
)
def test_the_operator_launches_under_its_roles_and_policies(
    api_server: ApiServer, kubeconfig: Path, tmp_path: Path, s3: str, words: tuple[str, ...]
) -> None:
    documents = install_roles(api_server, "--set", LEDGER, *words)
    documents += [d for d in rendered("--set", LEDGER, *words) if d["kind"].startswith(POLICY)]
    for document in documents:
        applied(api_server, document, dry=False)
    changes = {"metadata.namespace": "team-a", "spec.artifacts.uri": s3}
    study = manifests.change(manifests.valid("Study"), changes)
    prices = manifests.change(manifests.valid("PriceList"), {"spec.asOf": datetime.now(UTC).isoformat()})
    health, metrics = free_ports(2)
    environment = {
        **os.environ,
        "KUBECONFIG": str(kubeconfig),
        "COMPTROLLER_LEDGER_URI": f"file://{tmp_path}/ledger",
        "COMPTROLLER_TRAINER_IMAGE": "trainer",
        "COMPTROLLER_OPERATOR_NAMESPACE": NAMESPACE,
        "COMPTROLLER_NAMESPACES": "team-a" if words else "",
        "COMPTROLLER_HEALTH_PORT": str(health),
        "COMPTROLLER_METRICS_PORT": str(metrics),
    }
    log = tmp_path / "operator.log"
    for manifest in (study, prices):
        api_server.store(manifest)
    with log.open("wb") as file:
        program = Path(sys.executable).with_name("comptroller")
        process = subprocess.Popen([program, "operator"], env=environment, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 180
        while not (jobs := jobs_of(api_server, "team-a")) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert jobs, log.read_text()[-3000:]
    finally:
        process.terminate()
        process.wait(30)
        clear(api_server, "team-a")
        heads = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
        api_server.client.delete(heads, params={"labelSelector": "comptroller.dev/anchor"})
        api_server.delete(prices)
        removed(api_server, documents)
    log_text = log.read_text()
    assert not re.search(r"\b403\b|orbidden|permission", log_text), log_text[-3000:]


def jobs_of(api_server: ApiServer, namespace: str) -> list[dict[str, Any]]:
    answer = api_server.client.get(f"/apis/batch/v1/namespaces/{namespace}/jobs").raise_for_status()
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def clear(api_server: ApiServer, namespace: str) -> None:
    """Remove the operator's objects, since this cluster has no garbage collector."""
    for where in ("/apis/comptroller.dev/v1alpha1/{}/studies", "/apis/comptroller.dev/v1alpha1/{}/trials",
                  "/apis/batch/v1/{}/jobs"):  # fmt: skip
        path = where.format(f"namespaces/{namespace}")
        for item in api_server.client.get(path).raise_for_status().json()["items"]:
            one = f"{path}/{item['metadata']['name']}"
            api_server.client.patch(
                one,
                json={"metadata": {"finalizers": None}},
                headers={"Content-Type": "application/merge-patch+json"},
            )
            api_server.client.delete(one, params={"propagationPolicy": "Background"})
