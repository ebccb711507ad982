"""Heartbeats of a cluster's pods: each is its own Job's, and one strange pod silences no other."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from comptroller.cluster import pulse
from comptroller.cluster.pulse import PodPulse

LABELS = {
    "comptroller.dev/study": "s",
    "comptroller.dev/study-uid": "u1",
    "comptroller.dev/trial": "1",
    "comptroller.dev/attempt": "0",
}


def pod(job: str, ip: str, *, controlled: bool = True) -> dict:
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


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What is said at each address."""
    said: dict[str, bytes] = {}

    def over_http(_: object, url: str):
        async def fetch() -> bytes:
            await asyncio.sleep(0)
            return said[url.removeprefix("http://").rpartition(":")[0]]

        return fetch

    monkeypatch.setattr(pulse, "over_http", over_http)
    return said


async def test_studies_of_one_name_in_two_namespaces_are_heard_apart(answers: dict[str, bytes]) -> None:
    answers |= {"10.0.0.1": says(90), "10.0.0.2": says(0)}
    heard = PodPulse()
    await heard.round([pod("j1", "10.0.0.1"), pod("j2", "10.0.0.2")])
    assert [heard.heartbeat(job).utilization.percent for job in ("j1", "j2")] == [90, 0]


async def test_a_pod_that_no_job_made_is_not_heard(answers: dict[str, bytes]) -> None:
    answers |= {"10.0.0.1": says(90), "10.0.0.9": says(0)}
    heard = PodPulse()
    await heard.round([pod("j1", "10.0.0.1"), pod("j1", "10.0.0.9", controlled=False)])
    assert heard.heartbeat("j1").utilization.percent == 90


async def test_one_strange_pod_silences_no_other(answers: dict[str, bytes]) -> None:
    answers["10.0.0.2"] = says(50)  # of the first, nothing that could be caught is known
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


async def test_a_pod_is_silent_from_when_it_was_last_heard_or_else_first_asked(
    answers: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(pulse, "time", clock)
    pods, heard = [pod("j1", "10.0.0.1"), pod("j2", "10.0.0.2")], PodPulse()
    assert heard.silent_seconds("j1") == 0  # it was not asked
    answers["10.0.0.2"] = says(50)
    for clock.now in (110.0, 120.0, 130.0):
        await heard.round(pods)
    clock.now = 135.0
    assert [heard.silent_seconds(job) for job in ("j1", "j2")] == [25, 5]
    answers["10.0.0.1"] = says(50)
    await heard.round(pods)
    assert heard.silent_seconds("j1") == 0
