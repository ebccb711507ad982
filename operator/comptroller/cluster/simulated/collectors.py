"""The deletion of objects by controllers: garbage collector, pod garbage collector, and taint eviction."""

from comptroller.cluster.simulated.bodies import Body, is_over, with_condition, with_meta
from comptroller.cluster.simulated.machines import Machines
from comptroller.cluster.simulated.pods import Node
from comptroller.cluster.simulated.server import FOREGROUND, ORPHAN, RESOURCES, Change

_USER = "garbage-collector"
_AFTER = 2
"""Seconds that the garbage collector takes to find something out."""


class Collectors:
    """They look a moment after a change, and at everything after having been away."""

    def __init__(self, cluster: Machines) -> None:
        """Collect the garbage of a cluster."""
        self._cluster, self._server = cluster, cluster.server
        self._due: set[str] = set()

    def saw(self, change: Change) -> None:
        """Look at what a change leaves to be done."""
        if change.new is None:
            dependents = self._dependents(change.uid)
        else:
            meta = change.new["metadata"]
            dependents = [(change.resource, change.new)] if change.old is None else []
            if "deletionTimestamp" in meta and self._finds(change.resource, change.new):
                dependents.append((change.resource, change.new))
        for resource, body in dependents:
            self._soon(resource, body["metadata"]["uid"])

    def _finds(self, resource: str, body: Body) -> bool:
        kept = body["metadata"].get("finalizers", ())
        waits = resource == "pods" and not body["spec"].get("nodeName") and not is_over(body)
        return waits or FOREGROUND in kept or ORPHAN in kept

    def look_at_all(self) -> None:
        """Catch up, after having been away."""
        for resource in RESOURCES:
            for uid in self._server.objects[resource]:
                self._soon(resource, uid)

    def _soon(self, resource: str, uid: str) -> None:
        if uid not in self._due:
            self._due.add(uid)
            self._cluster.timeline.after(_AFTER, lambda: self._look(resource, uid))

    def _look(self, resource: str, uid: str) -> None:
        self._due.discard(uid)
        body = self._server.objects[resource].get(uid)
        if body is None or not self._cluster.controlled:
            return
        meta = body["metadata"]
        owners = meta.get("ownerReferences", ())
        if "deletionTimestamp" in meta:
            self._finish(resource, body)
        elif owners and not any(self._is_there(str(one["uid"])) for one in owners):
            self._server.delete(resource, meta["name"], _USER)

    def _is_there(self, uid: str) -> bool:
        return any(uid in self._server.objects[resource] for resource in ("trials", "jobs", "studies"))

    def _finish(self, resource: str, body: Body) -> None:
        """Do what a deletion waits for."""
        uid, kept = body["metadata"]["uid"], body["metadata"].get("finalizers", ())
        if resource == "pods" and not body["spec"].get("nodeName") and not is_over(body):
            self._fail(body, "")
        elif ORPHAN in kept:
            for kind, one in self._dependents(uid):
                left = [o for o in one["metadata"]["ownerReferences"] if o["uid"] != uid]
                self._server.replace(kind, with_meta(one, ownerReferences=left or None), _USER)
            self._drop(resource, uid, ORPHAN)
        elif FOREGROUND in kept:
            blocking = self._dependents(uid)
            for kind, one in blocking:
                if "deletionTimestamp" not in one["metadata"]:
                    self._server.delete(
                        kind, one["metadata"]["name"], _USER, "Foreground" if kind == "jobs" else "Background"
                    )
            if self._dependents(uid):
                self._soon(resource, uid)
            else:
                self._drop(resource, uid, FOREGROUND)

    def _drop(self, resource: str, uid: str, finalizer: str) -> None:
        body = self._server.objects[resource].get(uid)
        if body is not None:
            kept = [one for one in body["metadata"].get("finalizers", ()) if one != finalizer]
            self._server.replace(resource, with_meta(body, finalizers=kept or None), _USER)

    def _dependents(self, uid: str) -> list[tuple[str, Body]]:
        return [
            (resource, body)
            for resource in ("trials", "jobs", "pods")
            for body in list(self._server.objects[resource].values())
            if any(one["uid"] == uid for one in body["metadata"].get("ownerReferences", ()))
        ]

    # -- lost nodes ----------------------------------------------------------------------------------------

    def evict(self, node: Node) -> None:
        """Delete the pods of a node that nobody hears of; it will know once it is back."""
        if node.reachable or not self._cluster.controlled:
            return
        for body in self._bodies_on(node):
            self.disrupt(body, "DeletionByTaintManager")

    def collect(self, node: Node) -> None:
        """Take a node's object away: the pods whose end nobody heard of are marked as failed, and deleted."""
        for body in self._bodies_on(node):
            self._cluster.pods[body["metadata"]["uid"]].given_up = True
            self._fail(body, "DeletionByPodGC")
            self._server_delete(body)
        if self._server.named("nodes", node.name) is not None:
            self._server.delete("nodes", node.name, "node-controller")

    def disrupt(self, body: Body, reason: str) -> None:
        """Evict a pod, properly."""
        if (now := self._noted(body, reason)) is not None:
            self._server.delete("pods", now["metadata"]["name"], "evictor")

    def _server_delete(self, body: Body) -> None:
        if body["metadata"]["uid"] in self._server.objects["pods"]:
            self._server.delete("pods", body["metadata"]["name"], "pod-gc", grace=0)

    def _bodies_on(self, node: Node) -> list[Body]:
        return [
            body
            for body in list(self._server.objects["pods"].values())
            if body["spec"].get("nodeName") == node.name and not is_over(body)
        ]

    def _noted(self, body: Body, reason: str, phase: str | None = None) -> Body | None:
        body = self._server.objects["pods"][body["metadata"]["uid"]]
        status = body["status"]
        conditions = status.get("conditions", [])
        if reason:
            conditions = with_condition(conditions, "DisruptionTarget", "True", self._cluster.now, reason)
        new = {**status, "conditions": conditions} | ({"phase": phase} if phase else {})
        return self._server.replace("pods", {**body, "status": new}, "pod-gc", "status")

    def _fail(self, body: Body, reason: str) -> None:
        self._noted(body, reason, "Failed")
