"""The objects that a sweep lets go, the watches, and loops that survive whatever is raised in them."""

import asyncio

import kopf
import pytest

from comptroller import handlers, metrics
from comptroller.cluster.api import Api
from comptroller.handlers import Operator, watch_ours
from comptroller.settings import Settings


class Lists(Api):
    """An API server that only lists."""

    def __init__(self):
        self.requests, self.there, self.meanwhile = [], set(), lambda: None

    async def uids(self, where, selector=""):
        self.requests.append((where, selector))
        found = set(self.there)
        self.meanwhile()
        return found


def body(uid, namespace="team"):
    return {"metadata": {"uid": uid, "namespace": namespace, "resourceVersion": "1", "finalizers": []}}


class Listing(Operator):
    """An operator that only lists, and records the namespaces that it wakes."""

    def __init__(self, settings):
        self.server, self.woken = Lists(), []
        super().__init__(settings, self.server, "cluster")

    def wake(self, namespace):
        self.woken.append(namespace)


def operator(tmp_path, namespaces=""):
    return Listing(Settings(ledger_uri=f"file://{tmp_path}", namespaces=namespaces))


def uids(found, resource):
    return {one["metadata"]["uid"] for one in found.picture.everywhere(resource)}


async def test_a_sweep_lets_go_of_what_is_gone_and_wakes_its_namespace(tmp_path):
    found = operator(tmp_path)
    found.picture.attach({"jobs": {"team": [body("a"), body("b")], "other": [body("c", "other")]}})
    found.cluster._wrote("jobs", body("laid over"))
    found.server.there = {"a", "c"}
    await found.sweep("jobs", {"app": "ours"})
    assert uids(found, "jobs") == {"a", "c"}
    assert found.cluster.overlaid("jobs") == {}
    assert found.woken == ["team", "team"]
    assert found.server.requests == [("/apis/batch/v1/jobs", "app=ours")]


async def test_an_object_made_during_a_sweep_is_not_let_go(tmp_path):
    found = operator(tmp_path)
    index = {"team": [body("a")]}
    found.picture.attach({"jobs": index})
    found.server.there = {"a"}
    found.server.meanwhile = lambda: index["team"].append(body("young"))
    await found.sweep("jobs", {})
    assert uids(found, "jobs") == {"a", "young"}


async def test_a_sweep_asks_only_for_the_namespaces_that_are_watched(tmp_path):
    found = operator(tmp_path, "a,b")
    await found.sweep("studies", {})
    await found.sweep("pricelists", {})
    api = "/apis/comptroller.dev/v1alpha1"
    assert [where for where, _ in found.server.requests] == [
        f"{api}/namespaces/a/studies",
        f"{api}/namespaces/b/studies",
        f"{api}/pricelists",
    ]


def test_only_our_jobs_and_pods_are_brought_to_us():
    settings = kopf.OperatorSettings()
    watch_ours(settings)
    ours = "app.kubernetes.io/managed-by=comptroller"
    assert settings.watching.label_selectors["batch", "v1", "jobs"] == ours
    assert settings.watching.label_selectors["", "v1", "pods"] == ours
    assert len(settings.watching.label_selectors) == 2


# -- loops ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def listening(tmp_path, monkeypatch):
    monkeypatch.setattr(handlers, "_SWEEP_SECONDS", 0.01)
    settings = Settings(ledger_uri=f"file://{tmp_path}").model_copy(
        update={"scrape_seconds": 0.01, "feed_seconds": 0}
    )
    found = Operator(settings, Lists(), "cluster")
    yield found
    for task in found._tasks.values():
        task.cancel()
    await asyncio.gather(*found._tasks.values(), return_exceptions=True)


@pytest.mark.parametrize(
    ("loop", "broken"),
    [
        ("heartbeats", ("_pulse", "begin")),
        ("price feeds", ("_feeds", "refresh")),
        ("sweep", ("", "_sweep")),
    ],
)
@pytest.mark.parametrize("error", [ValueError("NaN"), RecursionError(), MemoryError(), AssertionError()])
async def test_a_loop_survives_whatever_is_raised_in_it(listening, monkeypatch, loop, broken, error):
    part, method = broken
    counted = metrics.LOOP_FAILURES.labels(loop)._value
    before, thrice, calls = counted.get(), asyncio.Event(), []

    def fails(*_):
        calls.append(1)
        if len(calls) == 3:
            thrice.set()
        raise error

    monkeypatch.setattr(getattr(listening, part) if part else listening, method, fails)
    listening.listen()
    await asyncio.wait_for(thrice.wait(), 20)
    assert listening.healthy
    assert counted.get() - before >= 2


async def test_a_worker_survives_its_namespaces_failing_passes(listening, monkeypatch):
    passes = {"bad": 0, "good": 0}

    async def reconcile(namespace):
        passes[namespace] += 1
        if namespace == "bad":
            raise RecursionError

    monkeypatch.setattr(listening._controller, "reconcile", reconcile)
    listening.wake("bad")
    async with asyncio.timeout(20):
        while passes["good"] < 20 or passes["bad"] < 1:
            listening.wake("good")
            await asyncio.sleep(0.001)
    assert listening.healthy
    listening._tasks["good"].cancel()
    await asyncio.gather(listening._tasks["good"], return_exceptions=True)
    assert listening.healthy  # a restart of all would not help the one
    before = passes["good"]
    async with asyncio.timeout(20):
        while passes["good"] == before:
            listening.wake("good")
            await asyncio.sleep(0.001)


async def test_a_loop_that_has_ended_is_a_reason_to_restart(listening):
    listening.listen()
    listening._tasks[" sweep"].cancel()
    await asyncio.gather(listening._tasks[" sweep"], return_exceptions=True)
    assert not listening.healthy
