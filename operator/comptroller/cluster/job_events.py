"""The information on a Job without a pod that only the Job controller's events have.

A quota, a limit range or a webhook may refuse its pod. Or it had one, and somebody took it away before the
operator saw it: such a pod is billed as its Job ran, to the end of its lease at most. Where the Job was taken
away too, the event is all that is left of it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from comptroller.cluster.api import path
from comptroller.cluster.pods import NEVER, unix
from comptroller.ledger.names import AttemptKey
from comptroller.plan.trouble import FAILED_CREATE
from comptroller.world import Removed, Run
from comptroller_api.text import plain

log = structlog.get_logger()

Body = dict[str, Any]
_AFTER, _EVERY = 5.0, 15.0
"""Seconds without a pod until the events of a Job are read, and between two reads."""
_PROMPT = 5
"""Seconds in which a Job gets its first pod, as a rule."""
_ROUNDED = 1
"""Seconds by which stamps of whole seconds may seem to be in the wrong order."""
_READS = 8
"""Requests in one pass at most; the other Jobs wait for the next."""
_MESSAGE = 400
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
    made: int | None = None
    """The creation of its first pod, in unix seconds; `None` while no event tells."""
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
            if known.made is not None and known.made < (run.first_pod or NEVER) - _ROUNDED:
                found[key] = _with_unseen(run, known.made)
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
                known.message = _refusal(await self._events(namespace, FAILED_CREATE, uid=run.uid))
            if over and not known.message:
                made = await self._events(namespace, _CREATED, uid=run.uid)
                known.made = min((unix(_stamp(event)) or 0 for event in made), default=None)
            known.over = over
        except Exception as error:  # noqa: BLE001 - without the reason the attempt ends at its lease, as before
            log.info("events not read", namespace=namespace, error=f"{type(error).__name__}: {error}"[:300])

    async def removed(self, namespace: str, name: str) -> Removed | None:
        """Return the last Job that had a name and a pod, by its event; `None` if there was none."""
        events = await self._events(namespace, _CREATED, kind="Job", name=name)
        last = max(events, key=_stamp, default=None)
        return None if last is None else Removed(last["involvedObject"]["uid"], unix(_stamp(last)) or 0)

    async def _events(self, namespace: str, reason: str, **involved: str | None) -> list[Body]:
        fields = [f"involvedObject.{name}={value}" for name, value in involved.items()]
        selector = ",".join([*fields, f"reason={reason}"])
        listed = await self._api.get(path("events", namespace), fieldSelector=selector, limit="20")
        return (listed or {}).get("items") or []


def _refusal(events: list[Body]) -> str:
    """Return the message of the latest of a Job's refusals, or empty text."""
    if not events:
        return ""
    return f"{FAILED_CREATE}: {plain(str(max(events, key=_stamp).get('message', '')), _MESSAGE)}"


def _stamp(event: Body) -> str:
    """Return when an event last happened."""
    return str(event.get("lastTimestamp") or event["metadata"]["creationTimestamp"])


def _with_unseen(run: Run, made: int) -> Run:
    """Return a run that is over with a pod that nobody saw, made before all that are in sight."""
    began = min(made, run.started or made) if run.first_pod is None else made
    unseen = (began, run.ended if run.first_pod is None else run.first_pod)
    spans = () if run.scheduled is None else run.spans or ((run.scheduled, run.ended),)
    return replace(run, scheduled=began, spans=(unseen, *spans), certain=False, unseen=True)


def _came_late(run: Run) -> bool:
    """Return whether another pod may have been there before those of a run that is over.

    Where the Job is gone too, nothing else tells when it got its first pod.
    """
    if run.ended is None or run.started is None or run.first_pod is None:
        return False
    return run.jobless or run.first_pod > run.started + _PROMPT


def _podless(run: Run) -> bool:
    """Return whether a run's Job should have a pod and has none, or ended without one."""
    never = run.stop is None if run.ended is None else run.scheduled is None and not run.unseen
    return (
        run.started is not None
        and never
        and not (run.requested or run.tombstone or run.paused or run.exit.message)
    )
