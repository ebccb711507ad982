"""Heartbeats are bounded and used only if they are valid, and silence does not count as idleness."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.heartbeats import MAX_BYTES, Tracker, over_http, scrape
from comptroller_api.contract import Heartbeat, Utilization

NAME = "digits-0003-1"


def beat(percent: float, source: str = "process", name: str = NAME) -> Heartbeat:
    return Heartbeat(
        name=name, phase="fit", seconds=1, utilization=Utilization(percent=percent, source=source)
    )


def answering(handler: Callable[[httpx.Request], httpx.Response]) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(handler))


async def heard(body: bytes, status: int = 200, encoding: str = "identity") -> Heartbeat | None:
    async def sent() -> AsyncIterator[bytes]:
        yield body

    headers = {"Content-Encoding": encoding}
    async with answering(lambda _: httpx.Response(status, headers=headers, content=sent())) as http:
        return await scrape(over_http(http, "http://pod:9464/heartbeat"), NAME)


async def test_a_heartbeat_is_heard() -> None:
    assert await heard(beat(42).model_dump_json().encode()) == beat(42)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 200),
        (b"{}", 200),
        (beat(42).model_dump_json().encode(), 500),
        (beat(42, name="digits-0003-0").model_dump_json().encode(), 200),
        (b" " * (MAX_BYTES + 1), 200),
        (beat(42).model_dump_json().encode() + b" " * MAX_BYTES, 200),
    ],
    ids=["no-json", "no-heartbeat", "error", "another-attempt", "too-long", "valid-and-too-long"],
)
async def test_a_heartbeat_that_is_not_this_attempts_is_ignored(body: bytes, status: int) -> None:
    assert await heard(body, status) is None


@pytest.mark.parametrize(
    "change",
    [
        {"carbonGrams": 3},
        {"energySource": "rocm"},
        {"utilization": {"percent": 90, "source": "rocm"}},
        {"utilization": None},
        {"phase": "a stage with a name of more than thirty-two characters"},
    ],
)
async def test_a_newer_trainer_that_says_more_is_not_silent(change: dict[str, object]) -> None:
    body = beat(90).model_dump(mode="json", by_alias=True) | change
    found = await heard(json.dumps(body).encode())
    assert found is not None
    assert (found.utilization.source == "none") == ("utilization" in change or "phase" in change)


async def test_an_answer_is_not_unpacked_however_small_it_came() -> None:
    packed = gzip.compress(beat(42).model_dump_json().encode() + b" " * (1000 * MAX_BYTES))
    assert len(packed) < MAX_BYTES * 2
    assert await heard(packed, encoding="gzip") is None


async def test_an_endless_answer_is_cut_off() -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 4096
            yield b" " * 4096

    async with answering(lambda _: httpx.Response(200, content=endless())) as http:
        assert await scrape(over_http(http, "http://pod/heartbeat"), NAME) is None
    assert sent <= MAX_BYTES + 8192


async def test_a_slow_answer_is_not_waited_for() -> None:
    async def slow() -> bytes:
        await asyncio.sleep(60)
        return b""

    assert await scrape(slow, NAME, timeout=0.05) is None


async def test_a_pod_that_does_not_answer_is_not_an_error() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async with answering(refuse) as http:
        assert await scrape(over_http(http, "http://pod/heartbeat"), NAME) is None


def tracked(*samples: tuple[float, Heartbeat | None], gap: float = 60) -> Tracker:
    tracker = Tracker(gap)
    for now, heartbeat in samples:
        tracker.record(NAME, heartbeat, now)
    return tracker


def test_idleness_is_counted_from_the_first_sample_under_the_threshold() -> None:
    tracker = tracked((0, beat(90)), (10, beat(3)), (20, beat(4.9)), (30, beat(0)))
    assert tracker.idle_seconds(NAME, 5, 30) == 20


def test_one_busy_sample_restarts_the_window() -> None:
    tracker = tracked((0, beat(1)), (10, beat(1)), (20, beat(5)), (30, beat(1)), (40, beat(1)))
    assert tracker.idle_seconds(NAME, 5, 40) == 10
    assert tracker.idle_seconds(NAME, 6, 40) == 40


def test_a_gap_is_not_idleness() -> None:
    tracker = tracked((0, beat(1)), (10, beat(1)), (100, beat(1)), (110, beat(1)))
    assert tracker.idle_seconds(NAME, 5, 110) == 10


def test_silence_is_not_idleness() -> None:
    tracker = tracked((0, beat(1)), (50, beat(1)), (60, None), (90, None))
    assert tracker.idle_seconds(NAME, 5, 100) == 50
    assert tracker.idle_seconds(NAME, 5, 111) == 0


def test_an_unknown_utilization_is_not_idleness() -> None:
    assert tracked((0, beat(1)), (10, beat(1)), (20, beat(0, "none"))).idle_seconds(NAME, 5, 20) == 0


def test_nothing_known_is_not_idleness() -> None:
    assert Tracker().idle_seconds(NAME, 5, 0) == 0


def test_the_idle_time_of_a_forgotten_run_starts_again() -> None:
    tracker = tracked((0, beat(1)), (30, beat(1)))
    tracker.forget([NAME])
    assert tracker.idle_seconds(NAME, 5, 30) == 30
    tracker.forget([])
    assert tracker.idle_seconds(NAME, 5, 30) == 0


@given(
    st.lists(st.tuples(st.integers(1, 80), st.integers(0, 110)), min_size=1, max_size=60), st.integers(1, 99)
)
def test_it_agrees_with_the_definition_and_stays_small(steps: list[tuple[int, int]], threshold: int) -> None:
    samples, now = [], 0
    for step, percent in steps:
        now += step
        samples.append((now, percent))
    tracker = tracked(*((at, beat(percent)) for at, percent in samples))
    since = last = samples[-1][0]
    for at, percent in reversed(samples):
        if percent >= threshold or since - at > 60:
            break
        since = at
    assert tracker.idle_seconds(NAME, threshold, now) == last - since
    assert len(tracker._known[NAME].peaks) <= 101
