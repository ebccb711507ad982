"""The API server: it stores bodies and keeps Kubernetes' rules about versions, finalizers and deletion."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from kubernetes.aio.client.exceptions import ApiException

from comptroller.cluster.simulated.bodies import (
    Body,
    Invalid,
    controllers,
    merged,
    operated,
    stamp,
    with_meta,
)

Propagation: TypeAlias = Literal["Background", "Foreground", "Orphan"]
RESOURCES = ("studies", "trials", "jobs", "pods", "budgets", "pricelists", "nodes")
_CLUSTER_WIDE = frozenset({"pricelists", "nodes"})
NAMESPACE = "team"
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
_KINDS = {
    "studies": "Study",
    "trials": "Trial",
    "jobs": "Job",
    "pods": "Pod",
    "budgets": "Budget",
    "pricelists": "PriceList",
    "nodes": "Node",
}
_JOB_MAY = {
    "activeDeadlineSeconds",
    "backoffLimit",
    "parallelism",
    "podReplacementPolicy",
    "suspend",
    "ttlSecondsAfterFinished",
}
"""Fields of a Job's spec that may be patched."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write that took effect."""

    user: str
    resource: str
    old: Body | None
    new: Body | None
    """`None`: the object is gone."""

    @property
    def uid(self) -> str:
        """Return the uid of the object."""
        return str((self.new or self.old or {})["metadata"]["uid"])


Review: TypeAlias = Callable[[str, str, Body | None, Body | None], str | None]
"""An admission policy: user, resource, old and new object to a refusal, or `None`."""


class Server:
    """One namespace's objects and those of the cluster, by resource and uid."""

    def __init__(self, clock: Callable[[], int]) -> None:
        """Store nothing yet.

        Args:
            clock: the control plane's, in unix seconds.
        """
        self.objects: dict[str, dict[str, Body]] = {resource: {} for resource in RESOURCES}
        self.policies: list[Review] = []
        self.webhooks: list[Callable[[str, Body], Body]] = []
        """Each changes what is created."""
        self.watchers: list[Callable[[Change], None]] = []
        self._names: dict[tuple[str, str], str] = {}
        self._clock = clock
        self._version = 0
        self._made = 0

    def named(self, resource: str, name: str) -> Body | None:
        """Return the object of a name."""
        uid = self._names.get((resource, name))
        return None if uid is None else self.objects[resource][uid]

    def create(self, resource: str, body: Body, user: str, uid: str | None = None) -> Body | None:
        """Store a new object and return it; `None` where its name is taken.

        Raises:
            ApiException: a policy or a rule refuses it.
        """
        for webhook in self.webhooks:
            body = webhook(resource, body)
        if (resource, body["metadata"]["name"]) in self._names:
            return None
        self._made += 1
        meta: Body = {"generation": 1, **body["metadata"]}
        meta["uid"] = uid or f"{resource}-{self._made}"
        meta["creationTimestamp"] = stamp(self._clock())
        if resource not in _CLUSTER_WIDE:
            meta["namespace"] = NAMESPACE
        body = {"kind": _KINDS[resource], **body, "metadata": meta}
        if resource == "jobs":
            body = _with_defaults(body)
        self._admit(user, resource, None, body)
        return self._store(user, resource, None, body)

    def merge(self, resource: str, name: str, patch: Body, user: str, sub: str | None = None) -> Body | None:
        """Apply a merge patch and return the object; `None` where its version is another.

        Raises:
            ApiException: there is no such object (404), or a policy (403) or a rule (422) refuses the patch.
        """
        old = self._found(resource, name)
        version = patch.get("metadata", {}).get("resourceVersion")
        if version is not None and version != old["metadata"]["resourceVersion"]:
            return None
        return self._write(user, resource, old, merged(old, patch), sub)

    def patch(
        self, resource: str, name: str, operations: list[Body], user: str, sub: str | None = None
    ) -> Body | None:
        """Apply a JSON patch and return the object; `None` where a `test` does not hold. Raise as `merge`."""
        old = self._found(resource, name)
        try:
            new = operated(old, operations)
        except Invalid as error:
            raise _refused(422, "Invalid", str(error), name) from error
        return None if new is None else self._write(user, resource, old, new, sub)

    def replace(self, resource: str, new: Body, user: str, sub: str | None = None) -> Body | None:
        """Write an object whole, where it is still there. Raises as `merge`."""
        old = self.objects[resource].get(new["metadata"]["uid"])
        return None if old is None else self._write(user, resource, old, new, sub)

    def delete(
        self,
        resource: str,
        name: str,
        user: str,
        propagation: Propagation = "Background",
        grace: int | None = None,
    ) -> None:
        """Delete an object: it stays while it has finalizers, or while a kubelet has yet to end its pod.

        Raises:
            ApiException: there is no such object (404), or a policy refuses it (403).
        """
        old = self._found(resource, name)
        self._admit(user, resource, old, None)
        meta = old["metadata"]
        kept = list(meta.get("finalizers", ()))
        extra = {"Foreground": FOREGROUND, "Orphan": ORPHAN}.get(propagation)
        if extra and extra not in kept and "deletionTimestamp" not in meta:
            kept.append(extra)
        on_node = resource == "pods" and old["spec"].get("nodeName") and not _over(old)
        seconds = (
            (old["spec"].get("terminationGracePeriodSeconds", 30) if grace is None else grace)
            if on_node
            else 0
        )
        now = self._clock()
        changes: Body = {}
        if "deletionTimestamp" not in meta:
            changes = {"deletionTimestamp": stamp(now + seconds), "finalizers": kept or None}
            if resource == "pods":
                changes["deletionGracePeriodSeconds"] = seconds
        elif resource == "pods" and seconds < meta.get("deletionGracePeriodSeconds", 0):
            changes = {"deletionGracePeriodSeconds": seconds}
        if kept or seconds:
            if changes:
                self._store(user, resource, old, with_meta(old, **changes))
        else:
            self._remove(user, resource, old)

    # -- writing -------------------------------------------------------------------------------------------

    def _found(self, resource: str, name: str) -> Body:
        found = self.named(resource, name)
        if found is None:
            raise _refused(404, "NotFound", f'{resource} "{name}" not found', name)
        return found

    def _admit(self, user: str, resource: str, old: Body | None, new: Body | None) -> None:
        for policy in self.policies:
            if (why := policy(user, resource, old, new)) is not None:
                name = (new or old or {})["metadata"]["name"]
                raise _refused(403, "Forbidden", why, name)

    def _write(self, user: str, resource: str, old: Body, new: Body, sub: str | None) -> Body:
        if sub == "status":
            new = {**old, "status": new.get("status", {})}
        elif resource in {"jobs", "pods", "studies", "trials", "budgets"}:
            new = (
                {**new, "status": old["status"]}
                if "status" in old
                else {k: v for k, v in new.items() if k != "status"}
            )
        if new == old:
            return old
        self._validate(resource, old, new)
        self._admit(user, resource, old, new)
        if sub != "status" and new.get("spec") != old.get("spec"):
            new = with_meta(new, generation=old["metadata"].get("generation", 0) + 1)
        meta = new["metadata"]
        if "deletionTimestamp" in meta and not meta.get("finalizers") and not self._waits(resource, new):
            self._remove(user, resource, new)
            return new
        return self._store(user, resource, old, new)

    def _waits(self, resource: str, body: Body) -> bool:
        """Return whether a kubelet has yet to say that a pod has ended."""
        return (
            resource == "pods"
            and bool(body["spec"].get("nodeName"))
            and not _over(body)
            and body["metadata"].get("deletionGracePeriodSeconds", 0) > 0
        )

    def _validate(self, resource: str, old: Body, new: Body) -> None:
        name, before, after = old["metadata"]["name"], old.get("spec", {}), new.get("spec", {})
        if before is after or before == after:
            return
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
        if resource == "jobs" and (wrong := changed - _JOB_MAY):
            raise _refused(422, "Invalid", f"spec.{min(wrong)}: field is immutable", name)
        if resource == "pods":
            if wrong := changed - {"activeDeadlineSeconds", "nodeName"}:
                raise _refused(422, "Invalid", f"spec.{min(wrong)}: pod updates may not change it", name)
            was, wanted = before.get("activeDeadlineSeconds"), after.get("activeDeadlineSeconds")
            if was is not None and (wanted is None or wanted > was):
                why = "spec.activeDeadlineSeconds: must be less than or equal to previous value"
                raise _refused(422, "Invalid", why, name)
        for field in ("activeDeadlineSeconds", "parallelism"):
            if field in changed and after.get(field, 0) < 0:
                raise _refused(422, "Invalid", f"spec.{field}: must be greater than or equal to 0", name)

    def _store(self, user: str, resource: str, old: Body | None, new: Body) -> Body:
        self._version += 1
        meta = {**new["metadata"], "resourceVersion": str(self._version)}
        if user == "kubelet" and resource == "pods":
            written = {"manager": "kubelet", "subresource": "status", "time": stamp(self._clock())}
            meta["managedFields"] = [written]
        new = {**new, "metadata": meta}
        self.objects[resource][meta["uid"]] = new
        self._names[resource, meta["name"]] = meta["uid"]
        self._tell(Change(user, resource, old, new))
        return new

    def _remove(self, user: str, resource: str, old: Body) -> None:
        meta = old["metadata"]
        del self.objects[resource][meta["uid"]]
        del self._names[resource, meta["name"]]
        self._version += 1
        self._tell(Change(user, resource, old, None))

    def _tell(self, change: Change) -> None:
        for watcher in self.watchers:
            watcher(change)

    # -- reading -------------------------------------------------------------------------------------------

    def owned(self, resource: str, uid: str) -> list[Body]:
        """Return the objects of a resource that an owner controls."""
        return [
            body
            for body in self.objects[resource].values()
            if any(one["uid"] == uid for one in controllers(body))
        ]

    def selected(self, resource: str, labels: Iterable[tuple[str, str]]) -> dict[str, Body]:
        """Return the objects that have these labels, by uid."""
        wanted = list(labels)
        if not wanted:
            return dict(self.objects.get(resource, {}))
        return {
            uid: body
            for uid, body in self.objects.get(resource, {}).items()
            if all(body["metadata"].get("labels", {}).get(name) == value for name, value in wanted)
        }


def _over(pod: Body) -> bool:
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def _with_defaults(job: Body) -> Body:
    """Fill in what the API server does: the selector, by which the Job's pods are found, and numbers."""
    uid, name = job["metadata"]["uid"], job["metadata"]["name"]
    spec, template = job["spec"], job["spec"]["template"]
    own = {"batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name}
    labels = {**template["metadata"].get("labels", {}), **own}
    template = {**template, "metadata": {**template["metadata"], "labels": labels}}
    defaults: dict[str, Any] = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "suspend": False}
    return {**job, "spec": {**defaults, **spec, "template": template}, "status": {}}


def _refused(status: int, reason: str, message: str, name: str) -> ApiException:
    error = ApiException(status=status, reason=reason)
    error.body = json.dumps({"message": message, "reason": reason, "details": {"name": name}})
    return error
