"""Heartbeats of the pods that run, scraped in rounds."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import httpx
import structlog

from comptroller.cluster import runs
from comptroller.cluster.jobs import STUDY
from comptroller.heartbeats import Tracker, client, over_http, scrape
from comptroller.ledger.names import attempt_name
from comptroller_api.contract import HEARTBEAT_PORT, Heartbeat

log = structlog.get_logger()

_AT_ONCE = 64


class PodPulse:
    """The latest heartbeat of each running attempt's first pod and how long it has been idle.

    By the uid of the pod's Job: two namespaces may have a study of one name, and labels are anybody's.
    """

    def __init__(self) -> None:
        """Start with nothing known."""
        self._tracker = Tracker()
        self._latest: dict[str, Heartbeat] = {}
        self._heard: dict[str, float] = {}
        """When each was last heard; when it was first asked, where it has never answered."""
        self._gate = asyncio.Semaphore(_AT_ONCE)

    def heartbeat(self, job: str) -> Heartbeat | None:
        """The latest heartbeat of an attempt."""
        return self._latest.get(job)

    def silent_seconds(self, job: str) -> int:
        """For how long an attempt that is asked has not answered.

        One that has never answered is silent from the first time that it was asked: an operator that starts
        while a node is lost would else never know.
        """
        heard = self._heard.get(job)
        return int(time.monotonic() - heard) if heard is not None else 0

    def idle_seconds(self, job: str, threshold: int) -> int:
        """For how long its utilization has stayed under `threshold` percent."""
        return self._tracker.idle_seconds(job, threshold, time.monotonic())

    async def round(self, pods: Iterable[dict[str, Any]]) -> None:
        """Scrape every running attempt once; forget those that are gone."""
        first = {job: own[0] for job, own in runs.by_owner(pods).items()}
        addresses = {job: found for job, pod in first.items() if (found := _address(pod))}
        async with client() as http:
            scrapes = (self._scrape(http, job, *found) for job, found in addresses.items())
            for error in await asyncio.gather(*scrapes, return_exceptions=True):
                if isinstance(error, Exception):  # one strange pod is no reason to hear no other
                    log.warning("heartbeat not read", error=f"{type(error).__name__}: {error}"[:500])
        self._tracker.forget(addresses.keys())
        self._latest = {job: beat for job, beat in self._latest.items() if job in addresses}
        self._heard = {job: at for job, at in self._heard.items() if job in addresses}

    async def _scrape(self, http: httpx.AsyncClient, job: str, name: str, ip: str) -> None:
        self._heard.setdefault(job, time.monotonic())
        async with self._gate:
            host = f"[{ip}]" if ":" in ip else ip
            beat = await scrape(over_http(http, f"http://{host}:{HEARTBEAT_PORT}/heartbeat"), name)
        self._tracker.record(job, beat, time.monotonic())
        if beat is not None:
            self._latest[job], self._heard[job] = beat, time.monotonic()


def _address(pod: dict[str, Any]) -> tuple[str, str] | None:
    """Whom to expect at which address, of a pod that runs."""
    labels, status = pod["metadata"].get("labels", {}), pod.get("status", {})
    key = runs.key_of(labels)
    if key is None or status.get("phase") != "Running" or not status.get("podIP"):
        return None
    return attempt_name(labels.get(STUDY, ""), *key), str(status["podIP"])
