"""The shell around the controller: Kopf's watches and indexes, probes, start-up, one worker a namespace.

No handler decides or writes anything. Watches fill the indexes that `observe` reads, every event wakes its
namespace's worker, and a timer wakes all of them.
"""

import asyncio
import dataclasses
import logging
import os
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import kopf
import prometheus_client
import structlog

from comptroller import metrics
from comptroller.cluster.anchors import KubernetesAnchor
from comptroller.cluster.api import Api, connect, path
from comptroller.cluster.bounded import bounded
from comptroller.cluster.jobs import MANAGED, PodSettings
from comptroller.cluster.kubernetes import Kubernetes
from comptroller.cluster.nodes import trimmed_node
from comptroller.cluster.pods import trimmed
from comptroller.cluster.pricelists import PriceKeeper
from comptroller.cluster.pulse import PodPulse
from comptroller.controller import Controller
from comptroller.feeds import Feeds
from comptroller.ledger.journal import Journal
from comptroller.ledger.stores import Objects, open_store
from comptroller.settings import Settings
from comptroller_api.contract import TRACKING_ENV
from comptroller_api.meta import GROUP, VERSION

log = structlog.get_logger()

_OURS = ("studies", "trials", "budgets", "pricelists")
_OWN_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_MAX_PAUSE = 30.0
_CHUNK = 10
"""Objects that are listed at a time when a watch begins: each may be as large as etcd allows."""
_SWEEP_SECONDS = 300.0
_THREADS = 64
"""Passes whose calls to object storage, and plans, may be under way at once."""
_RESOURCES: dict[str, tuple[tuple[str, str, str], dict[str, str]]] = {
    **{plural: ((GROUP, VERSION, plural), {}) for plural in _OURS},
    "jobs": (("batch", "v1", "jobs"), MANAGED),
    "pods": (("", "v1", "pods"), MANAGED),
    "nodes": (("", "v1", "nodes"), {}),
}
_CLUSTER_WIDE = frozenset({"pricelists", "nodes"})
_SILENT = frozenset({"nodes"})
"""Resources whose events wake nobody: every kubelet writes its node's status all the time."""


class Picture:
    """The indexes that Kopf keeps, as `Watched`."""

    def __init__(self) -> None:
        """Start with nothing seen; the first event brings the indexes, filled."""
        self._indexes: Mapping[str, Mapping[str, Iterable[dict[str, Any]]]] = {}
        self._gone: dict[str, set[str]] = {}

    def attach(self, indexes: Mapping[str, Any]) -> None:
        """Take the indexes that Kopf hands to every handler."""
        self._indexes = indexes

    def objects(self, resource: str, namespace: str | None) -> Iterable[dict[str, Any]]:
        """The objects of one namespace, or those that have none."""
        gone = self._gone.get(resource, ())
        bodies = self._indexes.get(resource, {}).get(namespace or "", ())
        return [body for body in bodies if body["metadata"]["uid"] not in gone]

    def everywhere(self, resource: str) -> Iterable[dict[str, Any]]:
        """The objects of all namespaces."""
        return [
            body
            for namespace in self._indexes.get(resource, {})
            for body in self.objects(resource, namespace)
        ]

    def hide(self, resource: str, uids: Iterable[str]) -> None:
        """These are gone, and no watch will say so: they went between two watches."""
        self._gone.setdefault(resource, set()).update(uids)

    def show(self, resource: str, uid: str) -> None:
        """Note that a watch has reported it: it exists, or is gone from the indexes too."""
        self._gone.get(resource, set()).discard(uid)


class Operator:
    """The parts of a running operator."""

    def __init__(self, settings: Settings, api: Api, cluster_id: str) -> None:
        """Wire them."""
        self._settings, self._api = settings, api
        self._pulse = PodPulse()
        self._feeds = Feeds(_now)
        self._prices = PriceKeeper(api, self._feeds, _now, every=settings.feed_seconds)
        self.picture = Picture()
        pods = {"AWS_REGION": settings.pod_s3_region}
        if settings.pod_s3_endpoint:
            pods["AWS_ENDPOINT_URL_S3"] = settings.pod_s3_endpoint
        if settings.pod_mlflow_uri:
            pods[TRACKING_ENV] = settings.pod_mlflow_uri
        self.cluster = Kubernetes(api, self.picture, self._pulse, PodSettings(pods))
        store, writer = (
            open_store(settings.ledger_uri, settings.ledger_lock),
            f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}",
        )
        aside = ThreadPoolExecutor(1, "snapshots").submit  # so that no pass waits for megabytes
        self._controller = Controller(
            self.cluster,
            lambda namespace: Journal(store, cluster_id, namespace, writer, _now, aside=aside),
            Objects(),
            _now,
            trainer_image=settings.trainer_image,
            site=settings.site,
            feed=lambda: self._feeds.feed,
            observer=metrics.observe,
            unverified_reports=settings.unverified_reports,
            anchor=KubernetesAnchor(api, settings.operator_namespace or _own_namespace()),
            ledger=settings.ledger_uri,
            unpublished=lambda namespace: metrics.UNPUBLISHED.labels(namespace).inc(),
        )
        self._awake: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def wake(self, namespace: str | None) -> None:
        """Let a namespace's worker make a pass; `None` wakes all."""
        for name in list(self._awake) if namespace is None else [namespace]:
            if name not in self._tasks or self._tasks[name].done():
                self._awake[name] = asyncio.Event()
                self._tasks[name] = asyncio.create_task(self._work(name), name=f"worker of {name}")
            self._awake[name].set()

    def listen(self) -> None:
        """Begin to scrape heartbeats, to read prices, and to look for what watches missed."""
        often = self._settings.scrape_seconds
        for name, seconds, look in (
            ("heartbeats", often, self._scrape),
            ("price feeds", often, self._keep_prices),
            ("sweep", _SWEEP_SECONDS, self._sweep),
        ):
            self._tasks[f" {name}"] = asyncio.create_task(_again(name, seconds, look), name=name)

    @property
    def healthy(self) -> bool:
        """Return whether every loop still runs; a restart helps only if one has ended.

        A namespace's worker that has ended is started again by the next thing that wakes it.
        """
        return not any(task.done() for name, task in self._tasks.items() if name.startswith(" "))

    async def _work(self, namespace: str) -> None:
        pause = self._settings.resync_seconds
        while True:
            try:
                await asyncio.wait_for(self._awake[namespace].wait(), timeout=pause)
            except TimeoutError:
                log.debug("resync", namespace=namespace)
            self._awake[namespace].clear()
            try:
                await self._controller.reconcile(namespace)
                pause = self._settings.resync_seconds
            except Exception as error:  # noqa: BLE001 - whatever it was, a later pass finds out what took effect
                metrics.FAILURES.labels(namespace).inc()
                log.warning(
                    "pass failed", namespace=namespace, error=f"{type(error).__name__}: {error}"[:500]
                )
                pause = min(_MAX_PAUSE, pause * 2)
                await asyncio.sleep(min(1.0, pause))

    async def _scrape(self) -> None:
        self._pulse.begin(self.picture.everywhere("pods"))

    async def _keep_prices(self) -> None:
        """Read the sources of the price lists that there are, and publish the lists' conditions."""
        if await self._prices.round(self.picture.everywhere("pricelists")):
            self.wake(None)

    async def _sweep(self) -> None:
        """Let go of objects that went unseen: Kopf lists again after a gap, and keeps what is not listed."""
        for resource, (_, labels) in _RESOURCES.items():
            try:
                await self.sweep(resource, labels)
            except Exception as error:  # noqa: BLE001 - the next round tries again
                log.warning("sweep failed", resource=resource, error=f"{type(error).__name__}: {error}"[:500])

    async def sweep(self, resource: str, labels: Mapping[str, str]) -> None:
        """Hide the objects of one resource that the API server no longer has."""
        known = {
            b["metadata"]["uid"]: b["metadata"].get("namespace") for b in self.picture.everywhere(resource)
        }
        known |= self.cluster.overlaid(resource)
        everywhere = resource in _CLUSTER_WIDE or not self._settings.watched
        watched: list[str | None] = [None] if everywhere else [*self._settings.watched]
        there: set[str] = set()
        for namespace in watched:
            there |= await self._api.uids(path(resource, namespace), _labelled(labels))
        gone = {uid: namespace for uid, namespace in known.items() if uid not in there}
        self.picture.hide(resource, gone)
        for uid, namespace in gone.items():
            log.info("gone unseen", resource=resource, namespace=namespace, uid=uid)
            self.cluster.forget(resource, uid)
            self.wake(namespace)


async def _again(name: str, seconds: float, look: Callable[[], Awaitable[None]]) -> None:
    """Call `look` every so many seconds, whatever it raises.

    What is wrong with one object is reported on that object; it must not end what all others depend on.
    """
    while True:
        await asyncio.sleep(seconds)
        try:
            await look()
        except Exception as error:  # noqa: BLE001 - see above
            metrics.LOOP_FAILURES.labels(name).inc()
            log.warning("loop failed", loop=name, error=f"{type(error).__name__}: {error}"[:500])


def _own_namespace() -> str:
    """The namespace that this process runs in; `default` outside of a cluster."""
    return _OWN_NAMESPACE.read_text().strip() if _OWN_NAMESPACE.exists() else "default"


def _labelled(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())


def _now() -> int:
    return int(time.time())


def registry(operator: Operator) -> kopf.OperatorRegistry:
    """Handlers that only index and wake."""
    found = kopf.OperatorRegistry()
    for resource, (selector, labels) in _RESOURCES.items():

        async def index(body: kopf.Body, namespace: str | None, **_: Any) -> dict[str, dict[str, Any]]:
            keep = trimmed_node if body.get("kind") == "Node" else trimmed
            return {namespace or "": bounded(keep(dict(body)))}

        async def wake(
            event: Mapping[str, Any],
            uid: str,
            namespace: str | None,
            resource: kopf.Resource,
            **kwargs: Any,
        ) -> None:
            operator.picture.attach({name: kwargs[name] for name in _RESOURCES})
            operator.picture.show(resource.plural, uid)
            if event["type"] == "DELETED":
                operator.cluster.forget(resource.plural, uid)
            if resource.plural not in _SILENT:
                operator.wake(namespace)

        kopf.index(*selector, id=resource, registry=found, labels=labels or None)(index)
        kopf.on.event(*selector, id=f"wake-{resource}", registry=found, labels=labels or None)(wake)

    _process_handlers(found, operator)
    return found


def watch_ours(settings: kopf.OperatorSettings) -> None:
    """Let the API server leave out the Jobs and pods of others: a big cluster has many."""
    for selector, labels in _RESOURCES.values():
        if labels:
            settings.watching.label_selectors[selector] = _labelled(labels)


def _process_handlers(found: kopf.OperatorRegistry, operator: Operator) -> None:
    """Register the handlers by which the process logs in, starts and reports that it lives."""

    @kopf.on.login(registry=found)
    async def login(**known: Any) -> kopf.ConnectionInfo | None:
        account = kopf.login_with_service_account(**known)
        if account is None:
            return kopf.login_with_kubeconfig(**known)
        # The address that the kubelet gives every pod, as client-go uses it: the name would need cluster DNS.
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        return dataclasses.replace(account, server=f"https://{f'[{host}]' if ':' in host else host}:{port}")

    @kopf.on.startup(registry=found)
    async def startup(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.networking.request_timeout = 30
        settings.watching.chunk_size = _CHUNK
        watch_ours(settings)
        operator.listen()

    @kopf.on.probe(registry=found, id="workers")
    def probe(**_: Any) -> str:
        if not operator.healthy:
            raise RuntimeError("a worker has ended")
        return "running"


async def _cluster_id(api: Api, configured: str) -> str:
    if configured:
        return configured
    body = await api.get(path("namespaces", name="kube-system"))
    if body is None:
        raise RuntimeError("the namespace kube-system is not there; set COMPTROLLER_CLUSTER_ID")
    return str(body["metadata"]["uid"])


async def serve(settings: Settings) -> None:
    """Run until the process is signalled to stop.

    Raises:
        NoConditionalWrites: the ledger's store cannot hold a ledger.
        NoObjectLock: the ledger's bucket cannot keep batches from deletion, as the settings require.
    """
    # Each pass uses one thread at a time for its store. With asyncio's few, the namespaces of some slow
    # buckets would keep all others waiting.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "blocking"))
    await asyncio.to_thread(open_store(settings.ledger_uri, settings.ledger_lock).probe)
    api = await connect()
    try:
        operator = Operator(settings, api, await _cluster_id(api, settings.cluster_id))
        if settings.metrics_port:
            prometheus_client.start_http_server(settings.metrics_port)
        namespaces = settings.watched
        await kopf.operator(
            registry=registry(operator),
            standalone=True,
            clusterwide=not namespaces,
            namespaces=namespaces,
            liveness_endpoint=f"http://0.0.0.0:{settings.health_port}/healthz",
        )
    finally:
        await api.close()


def main() -> None:
    """Run the operator with the settings of its environment."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("iso"),
            structlog.processors.JSONRenderer(),
        ],
    )
    asyncio.run(serve(Settings()))
