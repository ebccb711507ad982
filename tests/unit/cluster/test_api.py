"""The meaning of the API server's answers: gone, changed, refused for good, or an error that may pass."""

import json
from dataclasses import dataclass
from typing import Any

import pytest
from kubernetes.aio.client import ApiClient
from kubernetes.aio.client.exceptions import ApiException

from comptroller.cluster.api import Api, Missing, WriteRefused

DATE = "Thu, 01 Jan 2026 00:00:00 GMT"


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
