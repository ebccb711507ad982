"""With the chart's policies on a real cluster, a tenant cannot tamper, and everything else still works."""

import json
from collections.abc import Iterator

import pytest

from comptroller_api.contract import GRANT_ANNOTATION
from support.awaiting import eventually
from support.chart import LEDGER, rendered
from support.policies import policies
from support.realcluster import RUN, OperatorProcess, RealCluster, running_pods, started_pods, study

TENANT = "tenant"


@pytest.fixture
def guarded(cluster: RealCluster, operator: OperatorProcess) -> Iterator[str]:
    """Run the operator under the policies, in a namespace with a tenant who has Kubernetes' edit role."""
    namespace = operator.namespace
    words = ("--set", f"watchNamespaces={{{namespace}}}", "--set", f"fullnameOverride=policies-{RUN}")
    documents = policies(rendered("--set", LEDGER, *words))
    cluster.apply(*documents)
    try:
        edit = ("create", "rolebinding", TENANT, "--clusterrole=edit", f"--user={TENANT}")
        cluster.kubectl("-n", namespace, *edit)
        probe = ("create", "configmap", "probe", "--dry-run=server")
        eventually(
            lambda: "created" in tenant(cluster, namespace, *probe), 180, "the tenant's role is in force"
        )
        yield namespace
    finally:
        items = {"apiVersion": "v1", "kind": "List", "items": documents}
        cluster.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=json.dumps(items))


def tenant(cluster: RealCluster, namespace: str, *words: str) -> str:
    """Run kubectl as the tenant; return its output, including errors."""
    try:
        return cluster.kubectl(f"--as={TENANT}", "-n", namespace, *words)
    except AssertionError as error:
        return str(error)


def tamperings(job: str, pod: str) -> dict[str, tuple[str, ...]]:
    def patch(where: str, body: object) -> tuple[str, ...]:
        return ("patch", where, "--type=merge", "-p", json.dumps(body))

    return {
        "deadline": patch(f"job/{job}", {"spec": {"activeDeadlineSeconds": 21600}}),
        "grant": ("annotate", f"pod/{pod}", "--overwrite", f"{GRANT_ANNOTATION}=21600"),
        "stop": ("annotate", f"job/{job}", "comptroller.dev/stop=Suspended"),
        "suspend": patch(f"job/{job}", {"spec": {"suspend": True}}),
        "parallelism": patch(f"job/{job}", {"spec": {"parallelism": 0}}),
        "the Job's finalizer": patch(f"job/{job}", {"metadata": {"finalizers": None}}),
        "the pod's finalizer": patch(f"pod/{pod}", {"metadata": {"finalizers": None}}),
        "label": ("label", f"pod/{pod}", "app.kubernetes.io/managed-by-"),
        "the Job": ("delete", f"job/{job}", "--wait=false"),
        "the pod": ("delete", f"pod/{pod}", "--wait=false"),
        "the pod at once": ("delete", f"pod/{pod}", "--force", "--grace-period=0", "--wait=false"),
        "exec": ("exec", pod, "--", "kill", "1"),
    }


@pytest.mark.timeout(400)
def test_under_the_policies_a_tenant_cannot_tamper_and_the_cluster_works_on(
    cluster: RealCluster, operator: OperatorProcess, guarded: str
) -> None:
    lease = {"duration": "30s", "gracePeriod": "10s", "slack": "10s"}
    search = {"trials": 1, "parallel": 1, "rungs": {"epochs": [2000]}}
    cluster.apply(study("guarded", guarded, search=search, runtime={"lease": lease}))
    (pod,) = eventually(lambda: started_pods(cluster, guarded), 180, "a pod runs")
    [job] = [one["metadata"]["name"] for one in cluster.get("jobs", guarded)["items"]]
    for what, words in tamperings(job, pod).items():
        answer = tenant(cluster, guarded, *words)
        assert "is managed by Comptroller, and" in answer, (what, answer)
    assert "forbidden" not in tenant(cluster, guarded, "logs", pod, "--tail=1")
    assert running_pods(cluster, guarded) == [pod]

    operator.kill()  # the Job controller ends it at its deadline, even without an operator
    eventually(lambda: not running_pods(cluster, guarded), 120, "the pod ends with its lease")
    operator.start()

    # A study's author may delete it; the garbage collector and the operator do the rest.
    assert "deleted" in tenant(cluster, guarded, "delete", "study/guarded", "--timeout=150s")
    eventually(lambda: not cluster.get("jobs,pods,trials", guarded)["items"], 180, "nothing is left")
    assert cluster.books(guarded).open == {}


@pytest.mark.timeout(200)
def test_in_a_governed_namespace_no_controller_makes_a_pod_with_a_gpu(
    cluster: RealCluster, guarded: str
) -> None:
    label = "comptroller.dev/governed=true"
    assert "forbidden" in tenant(cluster, guarded, "label", "namespace", guarded, label)
    cluster.kubectl("label", "namespace", guarded, label)
    container = {"name": "c", "image": "x", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "own", "namespace": guarded}}
    cluster.apply({**job, "spec": {"template": template}})

    def refusals() -> list[str]:
        events = cluster.get("events", guarded)["items"]
        return [e["message"] for e in events if "needs a lease: run this work as a Study" in e["message"]]

    assert (
        "nvidia.com/gpu in the governed namespace" in eventually(refusals, 180, "the Job's event says so")[0]
    )
    assert cluster.get("pods", guarded)["items"] == []
