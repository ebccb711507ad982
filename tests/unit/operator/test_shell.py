"""The shell: the objects that a sweep lets go, the watches, and the meaning of the API's answers."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import kopf
import prometheus_client
import pytest
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException

from comptroller import handlers, metrics
from comptroller.cluster.api import Api, Missing, WriteRefused
from comptroller.handlers import Operator, watch_ours
from comptroller.ledger.books import Books
from comptroller.settings import Settings
from comptroller.world import World
from support.attempts import STUDY, TRIAL

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


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


# -- the API -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """An answer as the transport gives it."""

    status: int
    content: Any
    reason = ""

    async def read(self):
        text = self.content if isinstance(self.content, str) else json.dumps(self.content)
        return text.encode()

    def getheader(self, _name):
        return DATE


class Answers(ApiClient):
    """A transport that gives prepared answers and records the requests."""

    def __init__(self, *answers):
        self.answers, self.requests = list(answers), []

    async def param_serialize(self, *_, **request):
        self.requests.append(request)
        return ()

    async def call_api(self, *_, **__):
        return Answer(*self.answers.pop(0))


def page(*uids, token=""):
    return 200, {"items": [{"metadata": {"uid": uid}} for uid in uids], "metadata": {"continue": token}}


async def test_a_list_of_uids_is_read_to_its_last_page_and_brings_metadata_only():
    transport = Answers(page("a", token="t"), page("b"))
    assert await Api(transport).uids("/api/v1/pods", "app=ours") == {"a", "b"}
    first, second = (dict(one["query_params"]) for one in transport.requests)
    assert (first["labelSelector"], second["labelSelector"], second["continue"]) == (
        "app=ours",
        "app=ours",
        "t",
    )
    assert await Api(Answers((200, {"items": None, "metadata": {}}))).uids("/api/v1/pods") == set()
    assert "PartialObjectMetadataList" in transport.requests[0]["header_params"]["Accept"]


NOT_FOUND = 404, {"reason": "NotFound", "details": {"name": "x", "kind": "jobs"}}
NOT_SERVED = 404, "404 page not found\n"


@pytest.mark.parametrize(("verb", "change"), [("merge", {}), ("patch", [])])
async def test_gone_and_changed_objects_are_distinguished(verb, change):
    with pytest.raises(Missing):
        await getattr(Api(Answers(NOT_FOUND)), verb)("/x", change)
    with pytest.raises(ApiException):  # the kind is not served now, so the object is unknown
        await getattr(Api(Answers(NOT_SERVED)), verb)("/x", change)
    assert await getattr(Api(Answers((409, {}))), verb)("/x", change) is None


def invalid(message, **details):
    return 422, {"reason": "Invalid", "message": message, "details": details}


async def test_a_patch_whose_test_fails_returns_none():
    cause = [
        {"reason": "UnexpectedServerResponse", "message": "testing path /metadata/resourceVersion failed"}
    ]
    answer = invalid("the server rejected our request due to an error in our request", causes=cause)
    assert await Api(Answers(answer)).patch("/x", []) is None


@pytest.mark.parametrize(
    "answer",
    [
        invalid('Trial "t" is invalid: status.rungs: Too long', name="t", kind="Trial"),
        (413, {"message": "Request entity too large: limit is 3145728"}),
        (400, {"message": "the object provided is unrecognized"}),
        (500, {"message": "etcdserver: request is too large"}),
        (500, {"message": "rpc error: trying to send message larger than max (2097152 vs. 2097152)"}),
    ],
)
async def test_a_write_that_is_never_taken_says_so(answer):
    with pytest.raises(WriteRefused, match=answer[1]["message"][:20].replace("(", r"\(")):
        await Api(Answers(answer)).patch("/x", [])


@pytest.mark.parametrize("answer", [(500, {"message": "no leader"}), (429, {}), (403, {}), (503, "")])
async def test_a_write_that_may_be_taken_later_is_an_error_like_any(answer):
    with pytest.raises(ApiException):
        await Api(Answers(answer)).patch("/x", [])


# -- metrics -----------------------------------------------------------------------------------------------


def states(namespace):
    families = {family.name: family for family in prometheus_client.REGISTRY.collect()}
    samples = families["comptroller_trials"].samples
    return {s.labels["state"]: s.value for s in samples if s.labels["namespace"] == namespace}


def test_a_state_without_trials_is_reported_no_more():
    world = World(now=0, namespace="metered", books=Books(), studies=(STUDY,), trials={"u1": (TRIAL,)})
    metrics.observe("metered", world, [])
    assert states("metered") == {"Pending": 1}
    metrics.observe("elsewhere", World(now=0, namespace="elsewhere", books=Books()), [])
    assert states("metered") == {"Pending": 1}
    metrics.observe("metered", World(now=0, namespace="metered", books=Books()), [])
    assert states("metered") == {}
