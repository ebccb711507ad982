"""The information on a Job without a pod that only the Job controller's events have.

A quota, a limit range or a webhook may refuse its pod. Or it had one, and somebody took it away before the
operator saw it: such a pod is billed as its Job ran, to the end of its lease at most. Where the Job was taken
away too, the event is all that is left of it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog

from comptroller.cluster.api import path
from comptroller.cluster.pods import unix
from comptroller.ledger.names import AttemptKey
from comptroller.plan.trouble import FAILED_CREATE
from comptroller.world import Removed, Run
from comptroller_api.text import plain

log = structlog.get_logger()

Body = dict[str, Any]
_AFTER, _EVERY = 5.0, 15.0
"""Seconds without a pod until the events of a Job are read, and between two reads."""
_PROMPT = 1
"""Seconds in which the Job controller starts a Job, as a rule."""
_READS = 8
"""Requests in one pass at most; the other Jobs wait for the next."""
_MESSAGE = 400
_LONGEST_UID = 64
_CREATED = "SuccessfulCreate"


class Reader(Protocol):
    """The part of `Api` that is used."""

    async def get(self, where: str, **query: str) -> Body | None:
        """Return the object or list at `where`."""
        ...


@dataclass(slots=True)
class _Job:
    namespace: str
    due: float
    """Seconds of the monotonic clock from which its events are read."""
    message: str = ""
    made: Mapping[str, int] = field(default_factory=dict)
    """The creation of each pod that an event names, in unix seconds."""
    over: bool = False
    """Its events were read after it had ended: they say nothing new."""

    def wants(self, now: float, *, over: bool) -> bool:
        """Return whether to read its events: those of a Job that is over once, where none is known."""
        return not (self.over or self.message) if over else now >= self.due


class JobEvents:
    """The events of Jobs that have no pod."""

    def __init__(self, api: Reader, clock: Callable[[], float] = time.monotonic) -> None:
        """Read through `api`."""
        self._api, self._clock = api, clock
        self._jobs: dict[str, _Job] = {}

    async def explain(self, namespace: str, runs: Mapping[AttemptKey, Run]) -> dict[AttemptKey, Run]:
        """Return the `runs` of a namespace; the exit message of those without a pod says why."""
        found, uids, reads = dict(runs), set(), 0
        # Those that are over first: they are settled by what is found now.
        for key, run in sorted(runs.items(), key=lambda item: item[1].ended is None):
            if run.uid is None or not (_podless(run) or _came_late(run)):
                continue
            uids.add(run.uid)
            known = self._jobs.setdefault(run.uid, _Job(namespace, self._clock() + _AFTER))
            if reads < _READS and known.wants(self._clock(), over=run.ended is not None):
                reads += 1
                known.due = self._clock() + _EVERY
                await self._read(namespace, run, known)
            if unseen := [at for pod, at in known.made.items() if pod not in run.pod_names]:
                found[key] = _with_unseen(run, min(unseen))
            elif known.message and run.stop is None:
                found[key] = replace(run, exit=replace(run.exit, message=known.message))
            elif run.ended is not None and not known.over:
                found[key] = replace(run, unexplained=True)
        for uid in [uid for uid, job in self._jobs.items() if job.namespace == namespace and uid not in uids]:
            del self._jobs[uid]
        return found

    async def _read(self, namespace: str, run: Run, known: _Job) -> None:
        """Learn what the events of a run's Job say."""
        over = run.ended is not None
        try:
            if run.first_pod is None:
                known.message = _refusal(await self._events(namespace, FAILED_CREATE, run.name, run.uid))
            if over and not known.message:
                made = await self._events(namespace, _CREATED, run.name, run.uid)
                known.made = {_pod(event): _written(event) for event in made}
            known.over = over
        except Exception as error:  # noqa: BLE001 - without the reason the attempt ends at its lease, as before
            log.info("events not read", namespace=namespace, error=f"{type(error).__name__}: {error}"[:300])

    async def removed(self, namespace: str, name: str) -> Removed | None:
        """Return the last Job that had a name and a pod, by its event; `None` if there was none."""
        found = [
            Removed(uid, _written(event))
            for event in await self._events(namespace, _CREATED, name)
            if (uid := _uid(event))
        ]
        return max(found, key=lambda removed: removed.at, default=None)

    async def _events(self, namespace: str, reason: str, job: str, uid: str | None = None) -> list[Body]:
        """Return the events about the Jobs of a name, or about that with a uid.

        By their kind and name, too: the chart's policy protects the events about Jobs with an attempt's name.
        """
        fields = ["involvedObject.kind=Job", f"involvedObject.name={job}"]
        fields += [f"involvedObject.uid={uid}"] if uid else []
        selector = ",".join([*fields, f"reason={reason}"])
        listed = await self._api.get(path("events", namespace), fieldSelector=selector, limit="20")
        return (listed or {}).get("items") or []


def _refusal(events: list[Body]) -> str:
    """Return the message of the latest of a Job's refusals, or empty text."""
    if not events:
        return ""
    return f"{FAILED_CREATE}: {plain(str(max(events, key=_stamp).get('message', '')), _MESSAGE)}"


def _written(event: Body) -> int:
    """Return when an event was written, by the API server's clock: its other times are the writer's."""
    return unix(event["metadata"].get("creationTimestamp")) or 0


def _uid(event: Body) -> str:
    """Return the uid of an event's Job; empty for what no API server gives: the writer chose it."""
    uid = event.get("involvedObject", {}).get("uid")
    return uid if isinstance(uid, str) and len(uid) <= _LONGEST_UID else ""


def _pod(event: Body) -> str:
    """Return the name of the pod that the Job controller created: `Created pod: NAME`."""
    return str(event.get("message", "")).rpartition(" ")[2]


def _stamp(event: Body) -> str:
    """Return when an event last happened, as it says."""
    return str(event.get("lastTimestamp") or event["metadata"].get("creationTimestamp") or "")


def _with_unseen(run: Run, made: int) -> Run:
    """Return a run that is over with a pod that nobody saw, made before all that are in sight."""
    began = min(made, run.started or made) if run.first_pod is None else made
    unseen = (began, run.ended if run.first_pod is None else run.first_pod)
    spans = () if run.scheduled is None else run.spans or ((run.scheduled, run.ended),)
    return replace(run, scheduled=began, spans=(unseen, *spans), certain=False, unseen=run.unseen + 1)


def _came_late(run: Run) -> bool:
    """Return whether another pod may have been there before those of a run that is over.

    A Job that is resumed begins again, so that its start alone does not tell. Where the Job is gone too,
    nothing else tells when it got its first pod.
    """
    if run.ended is None or run.started is None or run.first_pod is None:
        return False
    resumed = run.created is not None and run.started > run.created + _PROMPT
    return run.jobless or resumed or run.first_pod > run.started


def _podless(run: Run) -> bool:
    """Return whether a run's Job should have a pod and has none, or ended without one."""
    never = run.stop is None if run.ended is None else run.scheduled is None and not run.unseen
    return (
        run.started is not None
        and never
        and not (run.requested or run.tombstone or run.paused or run.exit.message)
    )
