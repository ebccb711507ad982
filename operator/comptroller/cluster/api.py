"""The Kubernetes API as JSON in and out, through the official asyncio client's transport."""

import json
from email.utils import parsedate_to_datetime
from typing import Any, cast

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.client.exceptions import ApiException

from comptroller.cluster.bounded import bounded
from comptroller_api.meta import API_VERSION
from comptroller_api.text import plain

Body = dict[str, Any]

_TIMEOUT = 15.0
_PAGE = 500
_PAGE_OF_OBJECTS = 100
"""Whole objects, each of which may have more than a MiB, before they are cut to what is kept."""
_NOT_FOUND, _UNPROCESSABLE = 404, 422
_NEVER = frozenset({400, 413, _UNPROCESSABLE})
"""Answers to a write that the same write gets again."""
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_MERGE, _JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"


async def connect(context: str | None = None) -> "Api":
    """Connect from inside a pod, else by kubeconfig."""
    configuration = Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    except config.ConfigException:
        await config.load_kube_config(  # type: ignore[no-untyped-call]
            context=context, client_configuration=configuration
        )
    return Api(ApiClient(configuration))


def path(resource: str, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
    """The path of `studies`, `jobs`, `pods`, ... in `namespace`."""
    core = dict.fromkeys(("pods", "events", "namespaces", "configmaps", "nodes"), "/api/v1")
    group = {"jobs": "/apis/batch/v1", **core}
    parts = [group.get(resource, f"/apis/{API_VERSION}")]
    if namespace is not None:
        parts += ["namespaces", namespace]
    return "/".join([*parts, resource, *(part for part in (name, sub) if part)])


class WriteRefused(Exception):  # noqa: N818  (a name says what it is)
    """The API server does not take such an object, however often it is sent."""


class Missing(LookupError):  # noqa: N818  (a name says what it is)
    """There is no object of that name, whatever watches say."""


class Api:
    """Seven verbs. Each raises `ApiException` for an answer that is an error, unless it says otherwise."""

    def __init__(self, client: ApiClient) -> None:
        """Wrap a configured client."""
        self._client = client

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def get(self, where: str, **query: str) -> Body | None:
        """Return the object, or `None` if it does not exist."""
        return await self._unless(404, self._request("GET", where, query=query))

    async def uids(self, where: str, selector: str = "") -> set[str]:
        """The uids of all objects of a list, as of when it began; only their metadata is fetched."""
        found: set[str] = set()
        query = {"limit": str(_PAGE), "labelSelector": selector}
        while True:
            page = await self._request("GET", where, query=query, accept=_METADATA)
            # An empty list of metadata is sent as null.
            found |= {str(item["metadata"]["uid"]) for item in page["items"] or ()}
            if not (token := page["metadata"].get("continue")):
                return found
            query["continue"] = token

    async def objects(self, where: str, selector: str = "") -> tuple[list[Body], int]:
        """All objects of a list as of when it began, and the API server's clock then, in unix seconds."""
        found: list[Body] = []
        query = {"limit": str(_PAGE_OF_OBJECTS), "labelSelector": selector}
        at = None
        while True:
            page, answered = await self._exchange("GET", where, query=query)
            at = answered if at is None else at
            kind = {
                "apiVersion": page.get("apiVersion"),
                "kind": str(page.get("kind", "")).removesuffix("List"),
            }
            found += [bounded(kind | item) for item in page["items"]]
            if not (token := page["metadata"].get("continue")):
                return found, at
            query["continue"] = token

    async def create(self, where: str, body: Body) -> Body | None:
        """The object created, or `None` where its name is taken."""
        return await self._unless(409, self._request("POST", where, body))

    async def merge(self, where: str, body: Body) -> Body | None:
        """The object after a merge patch; `None` where it changed meanwhile.

        Raises:
            Missing: it is gone.
        """
        return await self._of_one(self._unless(409, self._request("PATCH", where, body, _MERGE)))

    async def patch(self, where: str, operations: list[Body]) -> Body | None:
        """The object after a JSON patch; `None` where a `test` does not hold.

        Raises:
            Missing: it is gone.
            WriteRefused: what it would become is invalid, or too large.
        """
        try:
            call = self._request("PATCH", where, operations, _JSON_PATCH)
            return await self._of_one(self._unless(409, call))
        except ApiException as error:
            if error.status == _UNPROCESSABLE and not _names_an_object(error):
                return None  # of the patch itself: a `test` that does not hold
            if error.status in _NEVER or _too_large(error):
                raise WriteRefused(_sentence(error)) from error
            raise

    @staticmethod
    async def _of_one(call: Any) -> Body | None:
        try:
            return cast("Body | None", await call)
        except ApiException as error:
            if error.status == _NOT_FOUND and _names_an_object(error):
                raise Missing(error.body) from error
            raise

    @staticmethod
    async def _unless(status: int, call: Any) -> Body | None:
        try:
            return cast("Body | None", await call)
        except ApiException as error:
            if error.status == status:
                return None
            raise

    async def _request(self, *what: Any, **how: Any) -> Body:
        """The answer of `_exchange`, where the server's clock is of no interest."""
        return (await self._exchange(*what, **how))[0]

    async def _exchange(
        self,
        method: str,
        where: str,
        body: Body | list[Body] | None = None,
        content_type: str = "application/json",
        query: dict[str, str] | None = None,
        accept: str = "application/json",
    ) -> tuple[Body, int]:
        """Send one request; return the answer's body and the server's clock."""
        request = await self._client.param_serialize(
            method=method,
            resource_path=where,
            query_params=list((query or {}).items()),
            header_params={"Accept": accept, "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = await self._client.call_api(*request, _request_timeout=_TIMEOUT)
        text = await answer.read()  # type: ignore[no-untyped-call]
        if not 200 <= answer.status < 300:  # noqa: PLR2004  (HTTP's own numbers)
            raise ApiException(status=answer.status, reason=answer.reason, body=text.decode(errors="replace"))
        stamp = parsedate_to_datetime(answer.getheader("Date"))  # type: ignore[no-untyped-call]
        found = cast("Body", json.loads(text))
        return bounded(found) if "metadata" in found else found, int(stamp.timestamp())


def _too_large(error: ApiException) -> bool:
    """Return whether etcd would not store an object of this size; the API server has various codes for it."""
    text = str(error.body)
    return "request is too large" in text or "message larger than max" in text


def _sentence(error: ApiException) -> str:
    """Return the API server's message in an answer that is an error."""
    try:
        text = str(json.loads(error.body or "")["message"])
    except (ValueError, TypeError, KeyError):
        text = str(error.reason)
    return plain(text, 300)


def _names_an_object(error: ApiException) -> bool:
    """Return whether an error is about an object, not about a kind that is not served, or the request."""
    try:
        return bool(json.loads(error.body or "")["details"]["name"])
    except (ValueError, TypeError, KeyError):
        return False
