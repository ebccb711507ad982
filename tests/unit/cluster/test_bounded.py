"""The operator's memory for one object is bounded, whatever its author puts into the object."""

import copy
import json
import tracemalloc

import pytest

from comptroller.cluster import runs
from comptroller.cluster.api import Api
from comptroller.cluster.bounded import bounded
from comptroller.cluster.jobs import PodSettings
from comptroller.cluster.kubernetes import Kubernetes
from comptroller.cluster.pulse import PodPulse
from comptroller.handlers import Picture
from comptroller_api.meta import FINALIZER
from support import manifests

LABELS = {
    "app.kubernetes.io/managed-by": "comptroller",
    "batch.kubernetes.io/controller-uid": "j1",
    "comptroller.dev/study": "s",
    "comptroller.dev/study-uid": "s1",
    "comptroller.dev/trial": "1",
    "comptroller.dev/attempt": "0",
}
MIB = 2**20


def worst_pod(number=0):
    """Return an object of about the size that etcd accepts, in every field that a tenant can fill."""
    meta = {
        "name": f"s-s1-0001-{number}-x", "namespace": "team", "uid": f"p{number}", "resourceVersion": "1",
        "labels": LABELS | {f"team/{n}": "x" * 63 for n in range(2000)},
        "annotations": {"comptroller.dev/lease-seconds": "60", "notes": "x" * 250_000},
        "finalizers": [FINALIZER, *(f"example.com/{n}" for n in range(2000))],
        "ownerReferences": [{"kind": "Job", "uid": f"j{number}", "controller": True}],
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    env = [{"name": f"N{n}", "value": "x" * 4000} for n in range(150)]
    container = {"name": "trainer", "image": "trainer", "env": env, "resources": {"requests": {"cpu": "1"}}}
    others = [{"name": f"c{n}", "image": "i" * 100, "args": ["x" * 1000]} for n in range(200)]
    ended = {"exitCode": 1, "finishedAt": "2026-01-01T00:01:00Z", "message": "\x1b[31m" + "x" * 4091}
    bound = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}
    status = {"phase": "Failed", "startTime": "2026-01-01T00:00:10Z", "conditions": [bound]}
    status["containerStatuses"] = [{"name": "trainer", "state": {"terminated": ended}}]
    spec = {"nodeName": "node", "containers": [container, *others]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": status}


def worst_study(number=0):
    body = copy.deepcopy(manifests.valid("Study"))
    body["metadata"] |= {"uid": f"s{number}", "resourceVersion": "1", "namespace": "team"}
    body["metadata"]["labels"] = {f"team/{n}": "x" * 63 for n in range(15_000)}
    return body


def test_a_pod_is_read_as_before_in_a_sixteenth_of_the_memory():
    whole = worst_pod()
    assert len(json.dumps(whole)) > MIB
    kept = bounded(whole)
    assert len(json.dumps(kept)) < 64 * 1024
    job = {
        "metadata": {
            "name": "s-s1-0001-0", "uid": "j0", "labels": LABELS, "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"activeDeadlineSeconds": 60, "template": {"metadata": {}}},
    }  # fmt: skip
    assert runs.run(job, kept) == runs.run(job, whole)


def test_an_honest_object_is_kept_whole():
    for kind in ("Study", "Trial", "Budget", "PriceList"):
        body = manifests.valid(kind)
        assert bounded(body) == body
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}}
    assert bounded(node) is node


class Quiet(Api):
    """An API server that takes every event."""

    def __init__(self):
        pass

    async def create(self, *_):
        return {}


@pytest.fixture
def store():
    """The objects that watches brought, by resource and namespace."""
    return {"studies": {"team": []}, "pods": {"team": []}}


@pytest.fixture
def cluster(store):
    picture = Picture()
    picture.attach(store)
    return Kubernetes(Quiet(), picture, PodPulse(), PodSettings({}))


async def test_a_study_that_is_too_large_is_refused_and_not_cut(cluster, store):
    """Truncated labels would take the study out of its budgets."""
    store["studies"]["team"] = [bounded(worst_study())]
    (refused,) = (await cluster.observe("team")).refused
    assert (refused.kind, refused.uid, refused.newer) == ("Study", "s0", False)
    assert refused.why.startswith("the object: it has ")


async def test_the_worst_objects_of_a_tenant_take_a_small_part_of_what_was_sent(cluster, store):
    """Return 20 pods and 4 studies of more than a MiB each."""
    pod = json.dumps(worst_pod())
    tracemalloc.start()
    try:
        for number in range(20):
            body = json.loads(pod)
            body["metadata"]["uid"] = f"p{number}"
            store["pods"]["team"].append(bounded(body))
        for number in range(4):
            store["studies"]["team"].append(bounded(worst_study(number)))
        for _ in range(2):
            await cluster.observe("team")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12 * MIB
