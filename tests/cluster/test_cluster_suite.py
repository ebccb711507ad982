"""The real cluster keeps the promises of `Cluster`."""

import asyncio
import json
import os
import zlib
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from comptroller.actions import Release, Stop
from comptroller.cluster.api import Api, path
from comptroller.cluster.base import Cluster
from comptroller.cluster.jobs import PodSettings
from comptroller.cluster.kubernetes import Kubernetes
from comptroller.cluster.nodes import trimmed_node
from comptroller.cluster.ownership import is_watched
from comptroller.cluster.pods import trimmed
from comptroller.cluster.testing import ClusterConformance, ClusterStage, Failure
from comptroller_api.contract import Heartbeat
from support.awaiting import eventually
from support.realcluster import RealCluster, study

Body = dict[str, Any]
NAME = "promises"
_KINDS = {
    "studies": "Study",
    "trials": "Trial",
    "jobs": "Job",
    "pods": "Pod",
    "budgets": "Budget",
    "pricelists": "PriceList",
    "nodes": "Node",
}
_SELECTED = frozenset({"jobs", "pods"})
_FOREVER = 100_000
"""Epochs that no lease of the tests is long enough for."""


class Lost(Exception):  # noqa: N818 - the operator's word
    pass


class FaultyApi(Api):
    """The API server, which counts requests, and whose writes may fail before or after their effect."""

    def __init__(self, client: ApiClient) -> None:
        super().__init__(client)
        self.requests = 0
        self.failure: Failure | None = None

    async def _exchange(self, method: str, *what: Any, **how: Any) -> tuple[Body, int]:
        self.requests += 1
        if self.failure == "before" and method != "GET":
            raise Lost(method)
        answer = await super()._exchange(method, *what, **how)
        if self.failure == "after" and method != "GET":
            raise Lost(method)
        return answer


class Lists:
    """`Watched` by lists of the objects as they are, or as they were when it became deaf."""

    def __init__(self, cluster: RealCluster, namespace: str) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._old: dict[str, list[Body]] | None = None
        self._gone: set[str] = set()

    def objects(self, resource: str, namespace: str | None) -> list[Body]:
        found = self._listed(resource, namespace) if self._old is None else self._old[resource]
        return [body for body in found if body["metadata"]["uid"] not in self._gone]

    def hide(self, resource: str, uids: Iterable[str]) -> None:
        del resource
        self._gone.update(uids)

    def freeze(self) -> None:
        wide = {"pricelists", "nodes"}
        self._old = {kind: self._listed(kind, None if kind in wide else self._namespace) for kind in _KINDS}

    def thaw(self) -> None:
        self._old = None

    def _listed(self, resource: str, namespace: str | None) -> list[Body]:
        answer = self._cluster.client.get(path(resource, namespace))
        assert answer.is_success, answer.text
        bodies = [{"kind": _KINDS[resource], **item} for item in answer.json()["items"]]
        if resource == "nodes":
            return [trimmed_node(body) for body in bodies]
        return [trimmed(body) for body in bodies if resource not in _SELECTED or is_watched(body)]


class NoPulse:
    """`Pulse` without heartbeats, which no promise is about."""

    def heartbeat(self, job: str) -> Heartbeat | None:
        del job
        return None

    def heard(self, job: str) -> int | None:
        del job
        return None

    def silent_seconds(self, job: str) -> int:
        del job
        return 0

    def idle_seconds(self, job: str, threshold: int) -> int:
        del job, threshold
        return 0


class RealStage(ClusterStage):
    """An API server, a kubelet, and the project's trainer."""

    lease_seconds = 180
    short_seconds = 45
    grace_seconds = 15

    def __init__(self, cluster: RealCluster, api: FaultyApi, namespace: str) -> None:
        self.namespace = namespace
        self.image = cluster.images["comptroller-trainer"]
        self._real, self._api = cluster, api
        self._lists: list[Lists] = []
        cluster.apply(study(NAME, namespace))
        self.cluster = self.another()

    def another(self) -> Cluster:
        self._lists.append(Lists(self._real, self.namespace))
        settings = {"AWS_ENDPOINT_URL_S3": os.environ["AWS_ENDPOINT_URL_S3"]}
        return Kubernetes(self._api, self._lists[-1], NoPulse(), PodSettings(settings))

    def work(self, *, long: bool) -> tuple[dict[str, str], int]:
        parameters = {
            "model.family": "mlp",
            "model.width": "16",
            "recipe.lr": "0.01",
            "compress.method": "none",
        }
        return parameters, _FOREVER if long else 1

    def trainers(self) -> int:
        events = self._real.get("events", self.namespace)["items"]
        started = [one["involvedObject"] for one in events if one["reason"] == "Started"]
        return len({one["uid"] for one in started if one["kind"] == "Pod"})

    async def turn(self) -> None:
        await asyncio.sleep(0.2)

    async def over(self, name: str) -> None:
        def stopped() -> bool:
            return all(pod["status"].get("phase") in {"Succeeded", "Failed"} for pod in self._pods(name))

        await asyncio.to_thread(eventually, stopped, what=f"{name} is over")

    def _pods(self, job: str) -> list[Body]:
        pods: list[Body] = self._real.get("pods", self.namespace)["items"]
        return [one for one in pods if one["metadata"]["labels"]["batch.kubernetes.io/job-name"] == job]

    @contextmanager
    def failing(self, failure: Failure) -> Iterator[None]:
        self._api.failure = failure
        yield
        self._api.failure = None

    @contextmanager
    def deaf(self) -> Iterator[None]:
        lists = list(self._lists)
        for one in lists:
            one.freeze()
        yield
        for one in lists:
            one.thaw()

    def suspend(self) -> None:
        self._patch(f"study/{NAME}", {"spec": {"suspend": True}})

    def remove(self, name: str) -> None:
        pods = [f"pod/{pod['metadata']['name']}" for pod in self._pods(name)]
        for what in (*pods, f"job/{name}"):
            self._patch(what, {"metadata": {"finalizers": None}})
        self._kubectl("delete", f"job/{name}", "--wait=false")
        self._kubectl("delete", *pods, "--grace-period=0", "--force", "--ignore-not-found")

    def delete(self) -> None:
        self._kubectl("delete", f"study/{NAME}", "--wait=false")

    def requests(self) -> int:
        return self._api.requests

    def _patch(self, what: str, patch: Body) -> None:
        self._kubectl("patch", what, "--type=merge", "-p", json.dumps(patch))

    def _kubectl(self, *words: str) -> None:
        self._real.kubectl("-n", self.namespace, *words)

    async def close(self) -> None:
        """End what still runs, and let it go, so that its cores are free for the next test."""
        for run in (await self.snapshot(fresh=True)).runs.values():
            await self.act(Stop(run.name, "Suspended", "the test is over"))
            await self.act(Release(run.name))
        await self._api.close()


class TestKubernetes(ClusterConformance):
    @pytest.fixture
    async def stage(self, cluster: RealCluster, request: pytest.FixtureRequest) -> AsyncIterator[RealStage]:
        namespace = cluster.namespace(f"promise-{zlib.crc32(request.node.name.encode()):08x}")
        configuration = Configuration()
        # Its default is the environment's at import, which is before the cluster is known.
        await config.load_kube_config(
            config_file=os.environ["KUBECONFIG"], client_configuration=configuration
        )
        stage = RealStage(cluster, FaultyApi(ApiClient(configuration)), namespace)
        yield stage
        await stage.close()
