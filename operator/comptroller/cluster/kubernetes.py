"""The real cluster: objects from watches, actions by the API, heartbeats from the pods."""

import time
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import structlog
from kubernetes.aio.client.exceptions import ApiException

from comptroller import actions as todo
from comptroller.actions import Action
from comptroller.cluster import jobs, unread
from comptroller.cluster.api import Api, Missing, WriteRefused, path
from comptroller.cluster.base import Snapshot
from comptroller.cluster.events import event_of, refused_event, unwritten_event
from comptroller.cluster.job_events import JobEvents
from comptroller.cluster.nodes import trimmed_node
from comptroller.cluster.ownership import attempt_of, is_managed, is_watched, job_uid, orphaned
from comptroller.cluster.pods import finished, granted, is_kept, trimmed
from comptroller.cluster.reading import Reading
from comptroller.cluster.trials import trial_body
from comptroller.ledger.names import AttemptKey
from comptroller.status import rfc3339
from comptroller.world import Refused, Removed, Run
from comptroller_api.budget import Budget
from comptroller_api.contract import GRANT_ANNOTATION, LEADER_ANNOTATION, Heartbeat
from comptroller_api.meta import FINALIZER, Model
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study
from comptroller_api.trial import Trial

log = structlog.get_logger()

Body = dict[str, Any]
M = TypeVar("M", Study, Trial, Budget, PriceList)
_FORBIDDEN = 403
_LIMIT = 2000
"""Overlaid objects kept at most; watches catch up long before."""
_CLUSTER_WIDE = frozenset({"pricelists", "nodes"})
_FRESH = ("studies", "trials", "budgets", "pricelists", "nodes", "jobs", "pods")
"""The kinds that a fresh read lists; Jobs before pods, and both even without the labels that we set."""


class Watched(Protocol):
    """Objects that watches have brought, by resource (`studies`, `trials`, `jobs`, `pods`, ...)."""

    def objects(self, resource: str, namespace: str | None) -> Iterable[Body]:
        """The objects of a namespace, or of the cluster."""
        ...

    def hide(self, resource: str, uids: Iterable[str]) -> None:
        """These are gone, whatever watches say."""
        ...


class Pulse(Protocol):
    """The heartbeats of running attempts."""

    def heartbeat(self, job: str) -> Heartbeat | None:
        """The latest heartbeat of the Job with this uid."""
        ...

    def heard(self, job: str) -> int | None:
        """Return when the latest heartbeat came, in unix seconds, also of an attempt that is over."""
        ...

    def silent_seconds(self, job: str) -> int:
        """Return the seconds for which it has not answered scrapes."""
        ...

    def idle_seconds(self, job: str, threshold: int) -> int:
        """Return the seconds for which utilization has stayed under `threshold` percent."""
        ...


class Kubernetes:
    """`Cluster` on a real API server.

    Its own writes are laid over what watches brought until they have caught up, so that a pass sees what the
    pass before it did.
    """

    def __init__(
        self,
        api: Api,
        watched: Watched,
        pulse: Pulse,
        settings: jobs.PodSettings,
    ) -> None:
        """Wire the parts."""
        self._api, self._watched, self._pulse, self._settings = api, watched, pulse, settings
        self._job_events = JobEvents(api)
        self._unreported: list[tuple[Body, Refused]] = []
        self._written: dict[tuple[str, str], Body] = {}
        self._parsed: dict[tuple[str, str | None], dict[str, tuple[str, Model | Refused]]] = {}
        self._readings: dict[str, Reading] = {}
        self._removed: dict[str, dict[AttemptKey, Removed]] = {}

    # -- observe -------------------------------------------------------------------------------------------

    async def observe(self, namespace: str, *, fresh: bool = False) -> Snapshot:
        """The namespace as watches and our own writes have it, or, `fresh`, as the API server does."""
        now = await self._look(namespace) if fresh else None
        refused: list[Refused] = []
        studies = tuple(self._parse(Study, "studies", namespace, refused))
        trials: dict[str, list[Trial]] = {}
        for trial in self._parse(Trial, "trials", namespace, refused):
            trials.setdefault(trial.spec.study_uid, []).append(trial)
        thresholds = {s.metadata.uid: s.spec.runtime.idle.threshold for s in studies if s.spec.runtime.idle}
        runs = self._runs(namespace, thresholds, fresh=fresh)
        budgets = tuple(self._parse(Budget, "budgets", namespace, refused))
        prices = tuple(self._parse(PriceList, "pricelists", None, refused))
        await self._report_refused()
        return Snapshot(
            studies=studies,
            trials={uid: tuple(sorted(own, key=lambda t: t.spec.number)) for uid, own in trials.items()},
            runs=await self._job_events.explain(namespace, runs),
            removed=dict(self._removed.get(namespace, {})),
            budgets=budgets,
            prices=prices,
            refused=tuple(refused),
            doubtful=not fresh and self._readings[namespace].doubtful,
            now=now,
        )

    async def _report_refused(self) -> None:
        unreported, self._unreported = self._unreported, []
        for body, refused in unreported:
            log.warning("object refused", kind=refused.kind, name=refused.name, why=refused.why)
            await self._report(refused_event(body, refused))

    async def _report(self, event: Body) -> None:
        try:
            await self._api.create(path("events", event["metadata"]["namespace"]), event)
        except Exception as error:  # noqa: BLE001 - an event that is lost is no reason to stop
            log.info("event not reported", error=f"{type(error).__name__}: {error}"[:500])

    async def _look(self, namespace: str) -> int:
        """Lay what the API server has over what watches brought; its clock when the first list began."""
        moments = []
        for resource in _FRESH:
            scope = None if resource in _CLUSTER_WIDE else namespace
            # What watches bring while the list is on its way may be younger than the list: it is no ghost.
            before = {body["metadata"]["uid"] for body in self._objects(resource, scope)}
            bodies, at = await self._api.objects(path(resource, scope))
            moments.append(at)
            there = {body["metadata"]["uid"]: body for body in self._ours(resource, namespace, bodies)}
            for uid in before - there.keys():
                self._gone(resource, uid)
            seen = {body["metadata"]["uid"]: body for body in self._objects(resource, scope)}
            for uid, body in there.items():
                if uid not in seen or _version(body) > _version(seen[uid]):
                    self._wrote(resource, body)
        return min(moments)

    def _ours(self, resource: str, namespace: str, bodies: list[Body]) -> list[Body]:
        """Return what the operator made, what its Jobs did, and the Jobs that have an attempt's name."""
        if resource == "jobs":
            return [named for body in bodies if is_managed(named := self._named(body))]
        if resource == "pods":
            own = {body["metadata"]["uid"] for body in self._objects("jobs", namespace)}
            return [body for body in bodies if is_managed(body) or job_uid(body) in own]
        return bodies

    def _named(self, body: Body) -> Body:
        """Return a Job, with the labels of the attempt whose name it has if it was laid over with them."""
        laid = self._written.get(("jobs", body["metadata"]["uid"]))
        if laid is None or attempt_of(body) is not None:
            return body
        return _labelled(body, laid["metadata"].get("labels", {}))

    def _parse(self, model: type[M], resource: str, namespace: str | None, refused: list[Refused]) -> list[M]:
        """Return the objects of one kind; each version is parsed once, and reported once if it is refused."""
        before, now = self._parsed.get((resource, namespace), {}), {}
        for body in self._objects(resource, namespace):
            uid, version = body["metadata"]["uid"], body["metadata"]["resourceVersion"]
            known = before.get(uid)
            now[uid] = known if known and known[0] == version else (version, self._read(model, body))
        self._parsed[resource, namespace] = now
        found = [one for _, one in now.values()]
        refused += [one for one in found if isinstance(one, Refused)]
        return [one for one in found if isinstance(one, model)]

    def _read(self, model: type[M], body: Body) -> M | Refused:
        try:
            return model.model_validate(body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the object is at fault, and no other
            refused = unread.refused(model.__name__, body, error)
        self._unreported.append((body, refused))
        return refused

    def _objects(self, resource: str, namespace: str | None) -> list[Body]:
        bodies = self._watched.objects(resource, namespace)
        if not self._written:
            return list(bodies)
        seen = {body["metadata"]["uid"]: body for body in bodies}
        for (kind, uid), ours in list(self._written.items()):
            if kind != resource or ours["metadata"].get("namespace") != namespace:
                continue
            theirs = seen.get(uid)
            if theirs is not None and _version(theirs) >= _version(ours):
                del self._written[kind, uid]
            else:
                seen[uid] = ours
        return list(seen.values())

    def forget(self, resource: str, uid: str) -> None:
        """An object is gone: nothing of it may be laid over."""
        self._written.pop((resource, uid), None)

    def _gone(self, resource: str, uid: str) -> None:
        """Hide an object that is gone though watches have not reported it, or never will."""
        self.forget(resource, uid)
        self._watched.hide(resource, [uid])

    def overlaid(self, resource: str) -> dict[str, str | None]:
        """The uids of objects that only our own writes tell of, maybe, and their namespaces."""
        return {
            uid: body["metadata"].get("namespace")
            for (kind, uid), body in self._written.items()
            if kind == resource
        }

    def _runs(self, namespace: str, thresholds: Mapping[str, int], *, fresh: bool) -> dict[AttemptKey, Run]:
        reading = self._readings.setdefault(namespace, Reading())
        reading.look(
            self._objects("jobs", namespace),
            self._objects("pods", namespace),
            self._objects("nodes", None),
            fresh=fresh,
        )
        claims: dict[AttemptKey, list[Run]] = {}
        for place, (uid, run) in enumerate(reading.runs):
            pulsed = self._with_pulse(uid, run, thresholds.get(run.key.study))
            reading.runs[place] = (uid, pulsed)
            claims.setdefault(run.key, []).append(pulsed)
        return {
            key: replace(first, rivals=tuple(rest)) if rest else first
            for key, (first, *rest) in claims.items()
        }

    def _with_pulse(self, uid: str, run: Run, threshold: int | None) -> Run:
        """Return a run with the heartbeats of its pods; the very same one if nothing changed."""
        over = run.ended is not None and not run.paused
        heartbeat, heard = self._pulse.heartbeat(uid), self._pulse.heard(uid)
        silent = 0 if over else self._pulse.silent_seconds(uid)
        idle = 0 if over or threshold is None else self._pulse.idle_seconds(uid, threshold)
        known = (run.heartbeat, run.heard, run.silent_seconds, run.idle_seconds)
        if known == (heartbeat, heard, silent, idle):
            return run
        return replace(run, heartbeat=heartbeat, heard=heard, silent_seconds=silent, idle_seconds=idle)

    # -- act -----------------------------------------------------------------------------------------------

    async def act(self, namespace: str, action: Action) -> None:
        """Carry out one action and tell people of it."""
        done = await self._do(namespace, action)
        log.info("acted", namespace=namespace, action=type(action).__name__, effect=done, **_fields(action))
        if done and (event := event_of(namespace, action)) is not None:
            await self._report(event)

    async def _do(self, namespace: str, action: Action) -> bool:  # noqa: C901, PLR0911, PLR0912  (one row an action)
        match action:
            case todo.CreateTrial():
                return await self._create("trials", namespace, trial_body(action))
            case todo.Launch():
                body = jobs.job(action, self._settings)
                return await self._take_name(namespace, action.key, body, first=action.first)
            case todo.Bury():
                return await self._bury(namespace, action)
            case todo.Extend(name, seconds, uid):
                job, _ = self._attempt(namespace, name, uid)
                return await self._change("jobs", job, {"spec": {"activeDeadlineSeconds": seconds}})
            case todo.Grant(name, seconds, uid):
                return await self._grant(namespace, name, uid, seconds)
            case todo.Introduce(name, address):
                return await self._annotate(namespace, name, None, {LEADER_ANNOTATION: address})
            case todo.Stop():
                return await self._stop(namespace, action)
            case todo.Expire(name, uid):
                return await self._expire(namespace, name, uid)
            case todo.Release(name, uid):
                return await self._release(namespace, name, uid)
            case todo.RecordTrial(trial, status):
                return await self._record("trials", namespace, trial, status.to_json())
            case todo.RecordStudy(study, status):
                return await self._record("studies", namespace, study, status.to_json())
            case todo.RecordBudget(budget, status):
                return await self._record("budgets", namespace, budget, status.to_json())
            case todo.Protect(study):
                return await self._finalize(namespace, study, [*study.metadata.finalizers, FINALIZER])
            case todo.Unprotect(study):
                kept = [f for f in study.metadata.finalizers if f != FINALIZER]
                return await self._finalize(namespace, study, kept)
        raise TypeError(f"{type(action).__name__} is not for the cluster")

    def _wrote(self, resource: str, body: Body | None) -> bool:
        if body is None:
            return False
        body = trimmed_node(body) if resource == "nodes" else trimmed(body)
        meta = body["metadata"]
        # A pod that is being deleted may run on for its grace period, whatever finalizers it has.
        waits = meta.get("finalizers") or meta.get("deletionGracePeriodSeconds")
        if meta.get("deletionTimestamp") and not waits:
            self._gone(resource, meta["uid"])  # with this write
            return True
        self._written.pop((resource, meta["uid"]), None)  # so that the last written is the last dropped
        self._written[resource, meta["uid"]] = body
        while len(self._written) > _LIMIT:
            self._written.pop(next(iter(self._written)))
        return True

    async def _create(self, resource: str, namespace: str, body: Body) -> bool:
        return self._wrote(resource, await self._api.create(path(resource, namespace), body))

    async def _take_name(self, namespace: str, key: AttemptKey, body: Body, *, first: bool = False) -> bool:
        """Create a Job. Where its name is taken by one that watches do not bring, lay that one over.

        It is ours without our label, which somebody took off, or else somebody's who took the name; the next
        pass decides which. Where the name is free, an earlier Job may have had it and run, unless this is the
        `first`; then that is noted, and no other is created.
        """
        name = body["metadata"]["name"]
        where = path("jobs", namespace, name)
        found = None if first else await self._api.get(where)
        if found is None and not first and (removed := await self._job_events.removed(namespace, name)):
            self._removed.setdefault(namespace, {})[key] = removed
            return False
        if found is None:
            if await self._create("jobs", namespace, body):
                return True
            found = await self._api.get(where)
        if found is not None and not is_watched(found):
            if attempt_of(found) is None:
                found = _labelled(found, body["metadata"]["labels"])
            self._wrote("jobs", found)
        return False

    async def _bury(self, namespace: str, bury: todo.Bury) -> bool:
        body = jobs.tombstone(bury, namespace)
        try:
            return await self._take_name(namespace, bury.key, body)
        except ApiException as error:
            if error.status != _FORBIDDEN or "being terminated" not in str(error.body):
                raise
        # Nothing can be created in a namespace that goes: the name is as good as taken.
        meta = {
            "uid": f"never-{bury.name}",
            "resourceVersion": "0",
            "creationTimestamp": rfc3339(int(time.time())),
        }
        return self._wrote("jobs", {**body, "metadata": body["metadata"] | meta})

    def _attempt(self, namespace: str, name: str, uid: str | None) -> tuple[Body | None, list[Body]]:
        """The Job and the pods of an attempt as they were last observed, or as we have written them since."""
        reading = self._readings.get(namespace)
        claims = reading.attempts.get(name, {}) if reading else {}
        job, pods = claims.get(uid) or next(iter(claims.values()), (None, ()))
        return job and self._latest("jobs", job), [self._latest("pods", pod) for pod in pods]

    def _latest(self, resource: str, seen: Body) -> Body:
        ours = self._written.get((resource, seen["metadata"]["uid"]))
        return ours if ours and _version(ours) > _version(seen) else seen

    async def _change(self, resource: str, seen: Body | None, patch: Body, *, held: bool = True) -> bool:
        """Patch an object as it was seen; `held`: one that changed meanwhile is left to the next pass."""
        if seen is None:
            return False
        meta = seen["metadata"]
        if held:
            patch = {
                **patch,
                "metadata": {**patch.get("metadata", {}), "resourceVersion": meta["resourceVersion"]},
            }
        where = path(resource, meta["namespace"], meta["name"])
        return await self._changed(resource, meta["uid"], self._api.merge(where, patch))

    async def _changed(self, resource: str, uid: str, call: Awaitable[Body | None]) -> bool:
        try:
            return self._wrote(resource, await call)
        except Missing:
            self._gone(resource, uid)
            return False

    async def _stop(self, namespace: str, stop: todo.Stop) -> bool:
        """End an attempt by its Job's deadline; a pod that no Job controls any more, by its own.

        The label that watches ask for is put back where somebody took it off, so that the end is seen.
        """
        job, pods = self._attempt(namespace, stop.name, stop.uid)
        notes = {jobs.STOP: stop.end, jobs.STOP_REASON: stop.reason[:512]}
        patch: Body = {"metadata": {"annotations": notes}, "spec": {"activeDeadlineSeconds": 1}}
        if job is not None and not is_watched(job):
            patch["metadata"]["labels"] = jobs.MANAGED
        done = False
        for pod in pods:
            if not is_watched(pod):
                await self._change("pods", pod, {"metadata": {"labels": jobs.MANAGED}}, held=False)
            if (job is None or orphaned(pod)) and not finished(pod):
                done = await self._change("pods", pod, patch)
                if not done:
                    return False  # the Job would show that the change was requested
        return await self._change("jobs", job, patch) or done

    async def _expire(self, namespace: str, name: str, uid: str | None) -> bool:
        _, pods = self._attempt(namespace, name, uid)
        running = [pod for pod in pods if not finished(pod)]
        patch = {"spec": {"activeDeadlineSeconds": 1}}
        return any([await self._change("pods", pod, patch, held=False) for pod in running])

    async def _grant(self, namespace: str, name: str, uid: str | None, seconds: int) -> bool:
        """Tell an attempt's pods what they are granted.

        None is raised beyond its Job, which another operator may have changed, so that `Extend` had no
        effect; nor one that changed since it was seen, maybe to less than these seconds.
        """
        job, pods = self._attempt(namespace, name, uid)
        extended = job is not None and job["spec"].get("activeDeadlineSeconds") == seconds
        patch = {"metadata": {"annotations": {GRANT_ANNOTATION: str(seconds)}}}
        granted_to = [pod for pod in pods if not finished(pod) and (extended or granted(pod) > seconds)]
        return any([await self._change("pods", pod, patch) for pod in granted_to])

    async def _annotate(self, namespace: str, name: str, uid: str | None, notes: Mapping[str, str]) -> bool:
        _, pods = self._attempt(namespace, name, uid)
        patch = {"metadata": {"annotations": dict(notes)}}
        running = [pod for pod in pods if not finished(pod)]
        return any([await self._change("pods", pod, patch, held=False) for pod in running])

    async def _release(self, namespace: str, name: str, uid: str | None) -> bool:
        """The pods first: it is the Job that says that something is left to do."""
        done = False
        job, pods = self._attempt(namespace, name, uid)
        for resource, body in [*(("pods", pod) for pod in pods), ("jobs", job)]:
            if body is None or not is_kept(body):
                continue
            kept = [f for f in body["metadata"]["finalizers"] if f != FINALIZER]
            done |= await self._change(resource, body, {"metadata": {"finalizers": kept}})
        return done

    async def _record(
        self, resource: str, namespace: str, seen: Study | Trial | Budget, status: Body
    ) -> bool:
        """Write a status. One that the API server will never take is reported, and ends a trial at rest."""
        try:
            return await self._write_status(resource, namespace, seen, status)
        except WriteRefused as error:
            why = f"its status is refused by the API server: {error}"
        log.warning("status refused", resource=resource, name=seen.metadata.name, why=why)
        await self._report(unwritten_event(namespace, seen, why))
        if not isinstance(seen, Trial) or status.get("state") == "Running":
            return False
        with suppress(WriteRefused):
            return await self._write_status(resource, namespace, seen, ended_instead(status, why))
        return False

    async def _write_status(
        self, resource: str, namespace: str, seen: Study | Trial | Budget, status: Body
    ) -> bool:
        meta = seen.metadata
        test: Body = {"op": "test", "path": "/metadata/resourceVersion", "value": meta.resource_version}
        where = path(resource, namespace, meta.name, "status")
        operations = [test, {"op": "add", "path": "/status", "value": status}]
        return await self._changed(resource, meta.uid, self._api.patch(where, operations))

    async def _finalize(self, namespace: str, study: Study, finalizers: list[str]) -> bool:
        meta = study.metadata
        patch = {"metadata": {"finalizers": finalizers, "resourceVersion": meta.resource_version}}
        call = self._api.merge(path("studies", namespace, meta.name), patch)
        return await self._changed("studies", meta.uid, call)


def _labelled(body: Body, labels: Mapping[str, str]) -> Body:
    return {**body, "metadata": {**body["metadata"], "labels": labels}}


def ended_instead(status: Body, why: str) -> Body:
    """Return the least status that ends a trial whose own status the API server does not take.

    Its results cannot be recorded, so it has no outcome that rests on results.
    """
    outcome = status.get("outcome")
    ended = outcome if outcome in {"Failed", "BudgetStopped", "Cancelled"} else "MetricsLost"
    kept = {"spent": status["spent"]} if "spent" in status else {}
    return {"state": "Ended", "outcome": ended, "reason": why[:512]} | kept


def _version(body: Body) -> int:
    """Resource versions of one resource order by their numbers (Kubernetes 1.35 says so; etcd always did)."""
    return int(body["metadata"]["resourceVersion"])


def _fields(action: Action) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in ("name", "seconds", "address", "end", "reason"):
        if hasattr(action, name):
            found[name] = getattr(action, name)
    return found
