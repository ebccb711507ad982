"""Heartbeats of a cluster's pods: each belongs to its own Job, and a broken pod silences no other."""

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any, Self

import pytest

from comptroller.cluster import pulse
from comptroller.cluster.pulse import PodPulse

LABELS = {
    "comptroller.dev/study": "s",
    "comptroller.dev/study-uid": "u1",
    "comptroller.dev/trial": "1",
    "comptroller.dev/attempt": "0",
}


def pod(job: str, ip: str, *, controlled: bool = True) -> dict[str, Any]:
    owners = [{"kind": "Job", "uid": job, "controller": True}] if controlled else []
    meta = {
        "name": "s-u1-0001-0-x",
        "uid": f"pod of {job} at {ip}",
        "labels": LABELS,
        "ownerReferences": owners,
    }
    return {"metadata": meta, "status": {"phase": "Running", "podIP": ip}}


def says(percent: float) -> bytes:
    busy = {"percent": percent, "source": "process"}
    return json.dumps({"name": "s-u1-0001-0", "phase": "fit", "seconds": 1, "utilization": busy}).encode()


def percent(heard: PodPulse, job: str) -> float:
    heartbeat = heard.heartbeat(job)
    assert heartbeat is not None
    return heartbeat.utilization.percent


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return the answers by address, which a test can set."""
    answers: dict[str, bytes] = {}

    def over_http(_: object, url: str):
        async def fetch() -> bytes:
            await asyncio.sleep(0)
            return answers[url.removeprefix("http://").rpartition(":")[0]]

        return fetch

    monkeypatch.setattr(pulse, "over_http", over_http)
    return answers


async def test_studies_of_one_name_in_two_namespaces_are_heard_apart(answers: dict[str, bytes]) -> None:
    answers |= {"10.0.0.1": says(90), "10.0.0.2": says(0)}
    heard = PodPulse()
    await heard.round([pod("j1", "10.0.0.1"), pod("j2", "10.0.0.2")])
    assert [percent(heard, job) for job in ("j1", "j2")] == [90, 0]


async def test_a_pod_that_no_job_made_is_not_heard(answers: dict[str, bytes]) -> None:
    answers |= {"10.0.0.1": says(90), "10.0.0.9": says(0)}
    heard = PodPulse()
    await heard.round([pod("j1", "10.0.0.1"), pod("j1", "10.0.0.9", controlled=False)])
    assert percent(heard, "j1") == 90


async def test_one_broken_pod_silences_no_other(answers: dict[str, bytes]) -> None:
    answers["10.0.0.2"] = says(50)  # the first address has no answer, which raises an unexpected error
    heard = PodPulse()
    await heard.round([pod("j1", "10.0.0.1"), pod("j2", "10.0.0.2")])
    assert heard.heartbeat("j1") is None
    assert heard.heartbeat("j2") is not None


async def test_a_pod_that_is_gone_is_forgotten(answers: dict[str, bytes]) -> None:
    answers["10.0.0.1"] = says(50)
    heard = PodPulse()
    await heard.round([pod("j1", "10.0.0.1")])
    await heard.round([])
    assert (heard.heartbeat("j1"), heard.silent_seconds("j1")) == (None, 0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    fake = SimpleNamespace(now=100.0)
    fake.monotonic = fake.time = lambda: fake.now
    monkeypatch.setattr(pulse, "time", fake)
    return fake


async def test_a_pod_is_silent_for_as_long_as_scrapes_were_left_unanswered(
    answers: dict[str, bytes], clock: SimpleNamespace
) -> None:
    pods, heard = [pod("j1", "10.0.0.1"), pod("j2", "10.0.0.2")], PodPulse()
    assert heard.silent_seconds("j1") == 0  # it was not scraped
    answers |= {"10.0.0.1": b"", "10.0.0.2": says(50)}
    for clock.now in (110.0, 120.0, 130.0):
        await heard.round(pods)
    clock.now = 200.0  # there was no scrape since, so the pods' state is unknown
    assert [heard.silent_seconds(job) for job in ("j1", "j2")] == [20, 0]
    answers["10.0.0.1"] = says(50)
    await heard.round(pods)
    assert heard.silent_seconds("j1") == 0


async def test_the_last_answer_of_an_attempt_is_known_for_an_hour_after_its_end(
    answers: dict[str, bytes], clock: SimpleNamespace
) -> None:
    answers["10.0.0.1"] = says(50)
    heard = PodPulse()
    await heard.round([pod("j1", "10.0.0.1")])
    clock.now += 3599
    await heard.round([])
    assert (heard.heartbeat("j1"), heard.heard("j1")) == (None, 100)
    clock.now += 1
    await heard.round([])
    assert heard.heard("j1") is None


async def test_one_failed_scrape_is_not_a_minute_of_silence(
    answers: dict[str, bytes], clock: SimpleNamespace
) -> None:
    """The age of the last answer does not count: a slow round is not the pod's silence."""
    answers["10.0.0.1"] = says(50)
    pods, heard = [pod("j1", "10.0.0.1")], PodPulse()
    await heard.round(pods)
    clock.now, answers["10.0.0.1"] = 300.0, b""
    await heard.round(pods)
    assert heard.silent_seconds("j1") == 0
    clock.now = 361.0
    await heard.round(pods)
    assert heard.silent_seconds("j1") == 61


async def test_a_pod_whose_body_cannot_be_read_hides_no_other(answers: dict[str, bytes]) -> None:
    answers |= {"10.0.0.2": says(50), "10.0.0.3": says(50)}
    strange = pod("j1", "10.0.0.1")
    strange["metadata"]["ownerReferences"] = [None]
    heard = PodPulse()
    await heard.round([pod("j2", "10.0.0.2"), strange, pod("j3", "10.0.0.3")])
    assert heard.heartbeat("j2") is not None
    assert heard.heartbeat("j3") is not None


class SlowPods:
    """A real server on every loopback address: those in 127.1.0.0/16 answer, others never do."""

    def __init__(self, port_of: pytest.MonkeyPatch) -> None:
        self.open, self.most, self._patch = 0, 0, port_of

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "0.0.0.0", 0, backlog=1024)
        self._patch.setattr(pulse, "HEARTBEAT_PORT", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await reader.readuntil(b"\r\n\r\n")
            if writer.get_extra_info("sockname")[0].startswith("127.1."):
                body = says(50)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
            else:
                await reader.read()  # until the operator gives up
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


async def test_two_thousand_slow_pods_of_a_tenant_delay_no_other_tenant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = [pod(f"slow{n}", f"127.0.{n // 250 + 1}.{n % 250 + 1}") for n in range(2100)]
    healthy = pod("j1", "127.1.0.1")
    for one in slow:
        one["metadata"]["namespace"] = "slow"
    healthy["metadata"]["namespace"] = "healthy"
    heard = PodPulse()
    async with SlowPods(monkeypatch) as server:
        try:
            for _ in range(3):
                began = time.monotonic()
                heard.begin([*slow, healthy])
                while heard.heartbeat("j1") is None:
                    assert time.monotonic() - began < 20, "it waited for the others"
                    await asyncio.sleep(0.01)
                assert heard.silent_seconds("j1") == 0
                heard._latest.clear()
                await asyncio.gather(*(t for name, t in heard._rounds.items() if name == "healthy"))
            assert list(heard._rounds) == ["slow"]  # its first round is still running
            assert server.most <= pulse._OF_A_NAMESPACE + 1
        finally:
            await heard.close()
