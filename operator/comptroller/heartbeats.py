"""The heartbeats of running attempts: one bounded read of `/heartbeat`, and how long each was idle."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

import httpx
from pydantic import ValidationError

from comptroller_api.contract import FromTrainer, Heartbeat, Utilization

MAX_BYTES = 64 * 1024
"""A longer answer is no heartbeat; a hostile pod cannot fill the operator's memory."""
TIMEOUT = 2.0
"""Seconds for the whole exchange."""

Fetch = Callable[[], Awaitable[bytes]]
"""Brings the body of one `GET /heartbeat`, from a pod's address or through the API server's proxy."""


class HeartbeatTooLong(ValueError):  # noqa: N818  (a name says what it is)
    """The body passes `MAX_BYTES`."""


def client() -> httpx.AsyncClient:
    """A client for heartbeats: plain HTTP inside the cluster, so no proxy and no certificates."""
    return httpx.AsyncClient(
        timeout=TIMEOUT,
        trust_env=False,
        verify=False,  # noqa: S501
        follow_redirects=False,
        # Callers bound their own requests: waiting here for a connection would count as the pod's silence.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
    )


def over_http(http: httpx.AsyncClient, url: str) -> Fetch:
    """A `Fetch` of `url` that stops reading at `MAX_BYTES`, counted before anything could be unpacked."""

    async def fetch() -> bytes:
        body = bytearray()
        async with http.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
            response.raise_for_status()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise HeartbeatTooLong(url)
        return bytes(body)

    return fetch


async def scrape(fetch: Fetch, name: str, timeout: float = TIMEOUT) -> Heartbeat | None:  # noqa: ASYNC109
    """The heartbeat of the attempt `name`, or `None` where there is no such answer.

    Not hearing is not an error and not idleness: the attempt may be starting, ending, or cut off.

    Args:
        fetch: brings the body.
        name: whom to expect; another's answer (a reused address) is no answer.
        timeout: seconds for the whole exchange, slow bytes included.
    """
    try:
        async with asyncio.timeout(timeout):
            body = await fetch()
    except (httpx.HTTPError, OSError, TimeoutError, HeartbeatTooLong):
        return None
    heartbeat = _read(body)
    return heartbeat if heartbeat is not None and heartbeat.name == name else None


class _Named(FromTrainer):
    name: str


def _read(body: bytes) -> Heartbeat | None:
    """The heartbeat in `body`. One that only gives its name was heard, and nothing more is known from it.

    A newer trainer may measure utilization in a way that is not known here; that is no silence.
    """
    try:
        return Heartbeat.model_validate_json(body)
    except ValidationError:
        pass
    try:
        name = _Named.model_validate_json(body).name
    except ValidationError:
        return None
    return Heartbeat(name=name[:253], phase="", seconds=0, utilization=Utilization(percent=0, source="none"))


@dataclass(slots=True)
class _History:
    """One attempt's utilization since the last gap.

    `peaks` holds the maximum of every suffix: `(since, percent)` says that utilization has not passed
    `percent` since `since`. Percents fall strictly from one entry to the next, and are whole, so that there
    are at most 101 entries however long the attempt runs.
    """

    last: float
    peaks: list[tuple[float, int]] = field(default_factory=list)

    def add(self, now: float, percent: int) -> None:
        since = now
        while self.peaks and self.peaks[-1][1] <= percent:
            since = self.peaks.pop()[0]
        self.peaks.append((since, percent))
        self.last = now


class Tracker:
    """Remembers how busy each attempt was. Times are seconds on any one clock that does not jump."""

    def __init__(self, gap: float = 60.0) -> None:
        """Start with nothing known.

        Args:
            gap: seconds between two samples beyond which nothing is known of the time between them.
        """
        self._gap = gap
        self._known: dict[str, _History] = {}

    def record(self, name: str, heartbeat: Heartbeat | None, now: float) -> None:
        """Take one scrape in; `None`, where nothing was heard, only lets time pass."""
        if heartbeat is None:
            return
        if heartbeat.utilization.source == "none":
            self._known.pop(name, None)
            return
        history = self._known.get(name)
        if history is None or not 0 <= now - history.last <= self._gap:
            history = self._known[name] = _History(now)
        # Rounded down: 4.9 of a threshold of 5 is under it, and 5.0 is not.
        history.add(now, min(100, int(heartbeat.utilization.percent)))

    def idle_seconds(self, name: str, threshold: int, now: float) -> int:
        """Return the seconds for which utilization has stayed under `threshold` percent, without a gap.

        Returns:
            Seconds from the first to the latest of these samples; 0 where the latest is not under the
            threshold, is older than the gap, or is not there: not hearing is not idleness.
        """
        history = self._known.get(name)
        if history is None or now - history.last > self._gap:
            return 0
        since = next((since for since, percent in history.peaks if percent < threshold), history.last)
        return int(history.last - since)

    def forget(self, keep: Collection[str]) -> None:
        """Drop every attempt that is not in `keep`."""
        self._known = {name: history for name, history in self._known.items() if name in keep}
