"""Heartbeats of the pods that run, scraped namespace by namespace, so that none waits for another's pods."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import httpx
import structlog

from comptroller.cluster.jobs import STUDY
from comptroller.cluster.ownership import by_job, key_of, labels_of, speaker
from comptroller.heartbeats import Tracker, client, over_http, scrape
from comptroller.ledger.names import attempt_name
from comptroller_api.contract import HEARTBEAT_PORT, Heartbeat

log = structlog.get_logger()

Body = dict[str, Any]

_AT_ONCE = 256
"""Scrapes under way in all. Scrapes wait in order, so namespaces take turns."""
_OF_A_NAMESPACE = 32
"""Scrapes under way in one namespace."""

_REMEMBERED = 3600
"""Seconds for which the last answer of an attempt that is over is known."""


class PodPulse:
    """The latest heartbeat of each running attempt's first pod and how long it has been idle.

    By the uid of the pod's Job: two namespaces may have a study of one name, and labels are anybody's.
    """

    def __init__(self) -> None:
        """Start with nothing known."""
        self._tracker = Tracker()
        self._latest: dict[str, Heartbeat] = {}
        self._unanswered: dict[str, tuple[float, float]] = {}
        """The starts of the first scrape since its last heartbeat and ends of the last one, both in vain."""
        self._heard: dict[str, int] = {}
        self._rounds: dict[str, asyncio.Task[None]] = {}
        """The round of each namespace that is under way."""
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._http: httpx.AsyncClient | None = None

    def heartbeat(self, job: str) -> Heartbeat | None:
        """The latest heartbeat of an attempt."""
        return self._latest.get(job)

    def heard(self, job: str) -> int | None:
        """Return when an attempt last answered, in unix seconds; known for an hour after its end."""
        return self._heard.get(job)

    def silent_seconds(self, job: str) -> int:
        """Return the seconds for which an attempt has left scrapes unanswered.

        Time without scrapes is no silence: a slow round, or an operator that stood still, shows nothing
        about the pod. One that has never answered is silent from the first scrape: an operator that starts
        while a node is lost would else never know.
        """
        began, ended = self._unanswered.get(job, (0.0, 0.0))
        return int(ended - began)

    def idle_seconds(self, job: str, threshold: int) -> int:
        """Return the seconds for which its utilization has stayed under `threshold` percent."""
        return self._tracker.idle_seconds(job, threshold, time.monotonic())

    async def round(self, pods: Iterable[Body]) -> None:
        """Scrape every running attempt once, and wait for all answers."""
        await asyncio.gather(*self.begin(pods))

    def begin(self, pods: Iterable[Body]) -> list[asyncio.Task[None]]:
        """Begin a round in each namespace whose last one is over; forget attempts that are gone.

        Returns:
            The rounds that were begun. None of them raises.
        """
        by_namespace: dict[str, list[Body]] = {}
        for pod in pods:
            by_namespace.setdefault(pod["metadata"].get("namespace", ""), []).append(pod)
        addresses = {namespace: _addresses(own) for namespace, own in by_namespace.items()}
        self._forget({job for own in addresses.values() for job in own})
        begun = []
        for namespace, own in addresses.items():
            if own and namespace not in self._rounds:
                task = asyncio.create_task(self._round(namespace, own), name=f"heartbeats of {namespace}")
                self._rounds[namespace] = task
                begun.append(task)
        return begun

    async def close(self) -> None:
        """End the rounds under way and close the connections."""
        under_way = list(self._rounds.values())
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._http is not None:
            await self._http.aclose()

    def _forget(self, there: set[str]) -> None:
        self._tracker.forget(there)
        long_ago = time.time() - _REMEMBERED
        self._heard = {job: at for job, at in self._heard.items() if job in there or at > long_ago}
        self._latest = {job: beat for job, beat in self._latest.items() if job in there}
        self._unanswered = {job: span for job, span in self._unanswered.items() if job in there}

    async def _round(self, namespace: str, addresses: dict[str, tuple[str, str]]) -> None:
        self._http = self._http or client()
        gate = asyncio.Semaphore(_OF_A_NAMESPACE)
        scrapes = (self._scrape(self._http, gate, job, *found) for job, found in addresses.items())
        try:
            for error in await asyncio.gather(*scrapes, return_exceptions=True):
                if isinstance(error, Exception):  # one strange pod is no reason to hear no other
                    log.warning("heartbeat not read", error=f"{type(error).__name__}: {error}"[:500])
        finally:
            del self._rounds[namespace]

    async def _scrape(
        self, http: httpx.AsyncClient, gate: asyncio.Semaphore, job: str, name: str, ip: str
    ) -> None:
        async with gate, self._gate:
            began = time.monotonic()
            host = f"[{ip}]" if ":" in ip else ip
            beat = await scrape(over_http(http, f"http://{host}:{HEARTBEAT_PORT}/heartbeat"), name)
        now = time.monotonic()
        self._tracker.record(job, beat, now)
        if beat is None:
            self._unanswered[job] = (self._unanswered.get(job, (began, began))[0], now)
        else:
            self._latest[job] = beat
            self._heard[job] = int(time.time())
            self._unanswered.pop(job, None)


def _addresses(pods: list[Body]) -> dict[str, tuple[str, str]]:
    """Whom to expect at which address, by Job. A pod that cannot be read is passed over, and no other."""
    try:
        first = {job: speaker(own) for job, own in by_job(pods).items()}
        return {job: found for job, pod in first.items() if (found := _address(pod))}
    except Exception as error:  # noqa: BLE001 - whatever it is, one pod is at fault
        if len(pods) == 1:
            log.warning("pod not read", pod=pods[0]["metadata"].get("name"), error=repr(error)[:500])
            return {}
    half = len(pods) // 2
    return _addresses(pods[:half]) | _addresses(pods[half:])


def _address(pod: Body) -> tuple[str, str] | None:
    """Whom to expect at which address, of a pod that runs."""
    labels, status = labels_of(pod), pod.get("status", {})
    key = key_of(labels)
    if key is None or status.get("phase") != "Running" or not status.get("podIP"):
        return None
    return attempt_name(labels.get(STUDY, ""), *key), str(status["podIP"])
