"""One operator's connection to the API server: its watches may stand still, and its calls may fail."""

from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from typing import Any, TypeAlias

from kubernetes.aio.client.exceptions import ApiException

from comptroller.cluster.api import Api, Missing
from comptroller.cluster.jobs import MANAGED
from comptroller.cluster.simulated.bodies import Body, stamp
from comptroller.cluster.simulated.machines import Machines
from comptroller.cluster.simulated.server import RESOURCES, Change
from comptroller_api.contract import Heartbeat

Kind: TypeAlias = str
KINDS: tuple[Kind, ...] = RESOURCES
_SELECTED = frozenset({"jobs", "pods"})
"""Watched by label."""
_LABELS = MANAGED.items()
_NOT_FOUND = 404


class Lost(Exception):  # noqa: N818 - says what happened
    """A call raised; whether it took effect is not known to the caller."""


class Watches:
    """`Watched`: what an operator's watches brought. Those of some kinds may stand still."""

    def __init__(self, cluster: Machines) -> None:
        """Watch a cluster."""
        self._objects = cluster.server.objects
        self._old: dict[str, dict[str, Body]] = {}
        self._went: dict[str, list[str]] = {}
        self.gone: Callable[[str, str], None] = lambda _resource, _uid: None
        """Hears of every object that a watch says is gone."""

    @property
    def up_to_date(self) -> bool:
        """Return whether all of them bring the present state."""
        return not self._old

    @property
    def still(self) -> frozenset[Kind]:
        """The kinds whose watches stand still."""
        return frozenset(self._old)

    def seen(self) -> dict[Kind, list[Body]]:
        """Return what watches that stand still have brought."""
        return {kind: list(own.values()) for kind, own in sorted(self._old.items())}

    def freeze(self, kinds: Iterable[Kind] = KINDS) -> None:
        """Let the watches of `kinds` bring nothing more."""
        for kind in kinds:
            if kind not in self._old:
                self._old[kind] = {body["metadata"]["uid"]: body for body in self._now(kind)}

    def thaw(self, kinds: Iterable[Kind] = KINDS) -> None:
        """Let them catch up."""
        for kind in kinds:
            if self._old.pop(kind, None) is not None:
                for uid in self._went.pop(kind, ()):
                    self.gone(kind, uid)

    def saw(self, change: Change) -> None:
        """Hear that an object is gone or no longer selected, while the watch runs."""
        selects = change.resource in _SELECTED
        if change.new is not None and (not selects or _is_selected(change.new)):
            return
        if selects and change.old is not None and not _is_selected(change.old):
            return  # it was never brought
        if change.resource in self._old:
            self._went.setdefault(change.resource, []).append(change.uid)
        else:
            self.gone(change.resource, change.uid)

    def objects(self, resource: str, namespace: str | None) -> Iterable[Body]:
        """Return what was brought."""
        del namespace
        old = self._old.get(resource)
        return self._now(resource) if old is None else list(old.values())

    def _now(self, resource: str) -> list[Body]:
        found = self._objects.get(resource, {}).values()
        return [body for body in found if _is_selected(body)] if resource in _SELECTED else list(found)

    def hide(self, resource: str, uids: Iterable[str]) -> None:
        """Leave out objects that are gone, whatever the watch has."""
        if resource in self._old:
            for uid in uids:
                self._old[resource].pop(uid, None)


def _is_selected(body: Body) -> bool:
    return bool(body["metadata"].get("labels", {}).items() >= _LABELS)


class Heartbeats:
    """`Pulse`: what an operator hears of the pods that run."""

    def __init__(self, cluster: Machines) -> None:
        """Start with no heartbeat."""
        self._cluster = cluster
        self.scraped: dict[str, int] = {}
        """The first scrape of an attempt, by its Job's name."""
        self._heard: dict[str, int] = {}
        """The last answer of a Job's pod, or else its first scrape, by the Job's uid."""

        self._answered: dict[str, int] = {}

    def listen(self) -> None:
        """Ask every pod that runs, as far as the API server knows; those within reach answer."""
        now = self._cluster.now
        for pod in self._cluster.live.values():
            if pod.container is None or pod.given_up:
                continue
            self.scraped.setdefault(pod.job.name, now)
            if pod.ended is None and pod.reachable:
                self._heard[pod.job.uid] = self._answered[pod.job.uid] = now
            else:
                self._heard.setdefault(pod.job.uid, now)

    def heartbeat(self, job: str) -> Heartbeat | None:
        """Return none, since nobody here needs what it says."""
        del job
        return None

    def heard(self, job: str) -> int | None:
        """Return when a Job's pod last answered."""
        return self._answered.get(job)

    def silent_seconds(self, job: str) -> int:
        """Return for how long a Job's pod has not answered."""
        heard = self._heard.get(job)
        return 0 if heard is None else self._cluster.now - heard

    def idle_seconds(self, job: str, threshold: int) -> int:
        """Return for how long a Job's pod has done nothing."""
        del threshold
        idle = [p for p in self._cluster.live.values() if p.job.uid == job and self._cluster.is_idle(p)]
        return max((self._cluster.now - p.scheduled for p in idle if p.scheduled is not None), default=0)


Enter: TypeAlias = Callable[[str, Callable[[], Any]], Awaitable[Any]]
"""Makes a call: what it is, and the call."""


async def _at_once(what: str, call: Callable[[], Any]) -> Any:
    del what
    return call()


class Connection(Api):
    """`Api` without a network: every call passes through `enter`, which may let the world go on, or fail."""

    def __init__(self, cluster: Machines, user: str, enter: Enter = _at_once) -> None:
        """Connect as `user`."""
        self._cluster, self._server = cluster, cluster.server
        self._user, self._enter = user, enter
        self.events: list[Body] = []

    async def close(self) -> None:
        """Do nothing."""

    async def get(self, where: str, **query: str) -> Body | None:
        """`Api`."""
        resource, name, _ = parts(where)
        if resource == "events":
            fields = dict(one.split("=", 1) for one in query["fieldSelector"].split(","))
            reason = fields.pop("reason")
            who = fields.get("involvedObject.uid") or fields["involvedObject.name"]
            listed: Body = await self._enter(f"list events of {who}", lambda: self._events(who, reason))
            return listed
        found: Body | None = await self._enter(f"get {name}", lambda: self._server.named(resource, name))
        return found

    def _events(self, who: str, reason: str) -> Body:
        """Return the Job controller's events of a Job, by its uid or name: one for each pod that it made."""
        made = [
            {
                "involvedObject": {"uid": job.uid},
                "metadata": {"creationTimestamp": stamp(pod.created)},
                "message": f"Created pod: {pod.name}",
            }
            for job in self._cluster.all_jobs.values()
            if who in {job.uid, job.name} and reason == "SuccessfulCreate"
            for pod in job.pods
        ]
        return {"items": made}

    async def uids(self, where: str, selector: str = "") -> set[str]:
        """`Api`."""
        return {body["metadata"]["uid"] for body in (await self.objects(where, selector))[0]}

    async def objects(self, where: str, selector: str = "") -> tuple[list[Body], int]:
        """`Api`."""
        resource, _, _ = parts(where)
        labels = [
            (name, value) for name, _, value in (one.partition("=") for one in selector.split(",") if one)
        ]

        def listed() -> tuple[list[Body], int]:
            return list(self._server.selected(resource, labels).values()), self._cluster.now

        found: tuple[list[Body], int] = await self._enter(f"list {resource}", listed)
        return found

    async def create(self, where: str, body: Body) -> Body | None:
        """`Api`."""
        resource, _, _ = parts(where)
        if resource == "events":
            return body
        name = body["metadata"]["name"]
        made: Body | None = await self._enter(
            f"create {name}", lambda: self._server.create(resource, body, self._user)
        )
        return made

    async def merge(self, where: str, body: Body) -> Body | None:
        """`Api`."""
        resource, name, sub = parts(where)
        return await self._one(
            f"merge {name}", lambda: self._server.merge(resource, name, body, self._user, sub)
        )

    async def patch(self, where: str, operations: list[Body]) -> Body | None:
        """`Api`."""
        resource, name, sub = parts(where)
        return await self._one(
            f"patch {name}", lambda: self._server.patch(resource, name, operations, self._user, sub)
        )

    async def _one(self, what: str, call: Callable[[], Body | None]) -> Body | None:
        try:
            found: Body | None = await self._enter(what, call)
        except ApiException as error:
            if error.status == _NOT_FOUND:
                raise Missing(error.body) from error
            raise
        return found


@lru_cache(maxsize=65536)
def parts(where: str) -> tuple[str, str, str | None]:
    """Return the resource, the name and the subresource of a path."""
    steps = where.strip("/").split("/")
    steps = steps[2 if steps[0] == "api" else 3 :]
    if steps[0] == "namespaces" and len(steps) > 2:  # noqa: PLR2004  (namespaces/<name>/<resource>)
        steps = steps[2:]
    resource, name, sub, *_ = [*steps, "", "", ""]
    return resource, name, sub or None
