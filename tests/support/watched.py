"""A cluster in Kubernetes whose API server and watches a test fills, and its objects."""

import copy
from collections.abc import Callable
from typing import Any

from comptroller.cluster.api import Api, Missing
from comptroller.cluster.jobs import Body, PodSettings
from comptroller.cluster.kubernetes import Kubernetes
from comptroller.handlers import Picture
from comptroller.ledger.names import AttemptKey
from comptroller.world import Run
from comptroller_api.contract import GRANT_ANNOTATION, Heartbeat, Utilization
from comptroller_api.meta import FINALIZER
from support import manifests

LABELS = {
    "app.kubernetes.io/managed-by": "comptroller",
    "comptroller.dev/study": "s",
    "comptroller.dev/study-uid": "s1",
    "comptroller.dev/trial": "1",
    "comptroller.dev/attempt": "0",
}
KEY, NAME = AttemptKey("s1", 1, 0), "s-s1-0001-0"


class NamingPulse:
    """A pulse whose heartbeats name the Job of the call."""

    def heartbeat(self, job: str) -> Heartbeat:
        return Heartbeat(
            name=job, phase="train", seconds=1, utilization=Utilization(percent=50, source="process")
        )

    def heard(self, _job: str) -> int | None:
        return None

    def silent_seconds(self, _job: str) -> int:
        return 0

    def idle_seconds(self, _job: str, _threshold: int) -> int:
        return 0


class Server(Api):
    """The API server: the objects by path, and the writes."""

    def __init__(self) -> None:
        self.there: dict[str, Body] = {}
        self.created: list[Body] = []
        self.patches: list[tuple[str, Body]] = []
        """The names of the objects that a merge found, and the merged fields."""
        self.meanwhile: Callable[[str], None] = lambda _where: None
        """Runs while a list is read."""

    async def create(self, where: str, body: Body) -> Body | None:
        if where.endswith("/events"):
            self.created.append(body)
            return body
        assert f"{where}/{body['metadata']['name']}" in self.there
        return None

    async def get(self, where: str, **_: str) -> Body | None:
        return self.there.get(where)

    async def merge(self, where: str, patch: Body) -> Body | None:
        if where not in self.there:
            raise Missing(where)
        self.patches.append((where.rsplit("/", 1)[1], patch))
        meta = self.there[where]["metadata"]
        version = patch["metadata"].get("resourceVersion", meta["resourceVersion"])
        if version != meta["resourceVersion"]:
            return None
        changed = {**meta, **patch["metadata"], "resourceVersion": str(int(meta["resourceVersion"]) + 1)}
        self.there[where] = {**self.there[where], "metadata": changed}
        return self.there[where]

    async def patch(self, where: str, _operations: list[Body]) -> Body | None:
        return await self.merge(where.removesuffix("/status"), {"metadata": {}})

    async def objects(self, where: str, _selector: str = "") -> tuple[list[Body], int]:
        found = [b for path, b in self.there.items() if path.rsplit("/", 1)[0] == where]
        self.meanwhile(where)
        return found, 1_000


def seen(kind: str, uid: str, version: str = "1", **changes: Any) -> Body:
    """Return a valid object of a kind, with fields changed, as a watch brings it."""
    body = copy.deepcopy(manifests.change(manifests.valid(kind), changes))
    body["metadata"] |= {"uid": uid, "resourceVersion": version, "namespace": "team"}
    return body


def job(uid: str = "j1", **meta: Any) -> Body:
    own: Body = {"name": NAME, "namespace": "team", "uid": uid, "resourceVersion": "1", "labels": LABELS}
    own |= {"finalizers": [FINALIZER], "creationTimestamp": "2026-01-01T00:00:00Z"}
    template = {"metadata": {"annotations": {GRANT_ANNOTATION: "60"}}}
    spec = {"activeDeadlineSeconds": 60, "template": template}
    return {"kind": "Job", "metadata": own | meta, "spec": spec, "status": {}}


def pod(uid: str = "p1", of: str | None = "j1", phase: str = "Running", **meta: Any) -> Body:
    """Return a pod of the Job with uid `of`, or of none."""
    own: Body = {"name": f"{NAME}-x7x7x", "namespace": "team", "uid": uid, "resourceVersion": "1"}
    own |= {"labels": LABELS | {"batch.kubernetes.io/controller-uid": of or "j1"}, "finalizers": [FINALIZER]}
    own |= {"creationTimestamp": "2026-01-01T00:00:01Z", "annotations": {GRANT_ANNOTATION: "60"}}
    if of:
        own["ownerReferences"] = [{"kind": "Job", "name": NAME, "uid": of, "controller": True}]
    bound = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}
    ended = {"exitCode": 75, "finishedAt": "2026-01-01T00:01:00Z"}
    state = {"terminated": ended} if phase in {"Failed", "Succeeded"} else {"running": {}}
    status = {"phase": phase, "conditions": [bound]}
    return {
        "kind": "Pod",
        "metadata": own | meta,
        "status": status | {"containerStatuses": [{"name": "trainer", "state": state}]},
    }


class Filled(Kubernetes):
    """A cluster whose server and watches a test fills."""

    def __init__(self) -> None:
        self.server, self.picture = Server(), Picture()
        self.store: dict[str, dict[str, list[Body]]] = {
            "budgets": {"team": [seen("Budget", "b1")]},
            "studies": {"team": [seen("Study", "s1")]},
        }
        self.picture.attach(self.store)
        super().__init__(self.server, self.picture, NamingPulse(), PodSettings({}))

    def has(self, *bodies: Body, watched: bool = True) -> None:
        """Put objects on the server; watches bring them unless `watched` is False."""
        for body in bodies:
            kind, meta = body["kind"], body["metadata"]
            group = {"Job": "/apis/batch/v1", "Pod": "/api/v1"}.get(kind, "/apis/comptroller.dev/v1alpha1")
            plural = {"Study": "studies"}.get(kind, f"{kind.lower()}s")
            self.server.there[f"{group}/namespaces/team/{plural}/{meta['name']}"] = body
            if watched:
                self.store.setdefault(plural, {}).setdefault("team", []).append(body)


async def run_of(cluster: Filled) -> Run:
    """Return the run of the attempt that the objects of this module belong to."""
    return (await cluster.observe("team")).runs[KEY]
