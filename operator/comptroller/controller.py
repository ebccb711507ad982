"""The loop: observe, plan, act. One pass at a time in a namespace; restartable anywhere."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TypeVar

import structlog

from comptroller import reports
from comptroller.actions import (
    Action,
    Append,
    Bury,
    CreateTrial,
    Launch,
    Protect,
    RecordStudy,
    RecordTrial,
    Refresh,
    Unprotect,
)
from comptroller.cluster import Cluster, Snapshot
from comptroller.ledger.anchor import Anchor
from comptroller.ledger.anchored import Anchored, Blocking
from comptroller.ledger.books import Attempt, Books
from comptroller.ledger.entries import Entry, Reserve
from comptroller.ledger.journal import Journal, JournalError
from comptroller.ledger.names import AttemptKey
from comptroller.ledger.store import StoreError
from comptroller.plan import plan
from comptroller.plan.trials import awaited
from comptroller.preflight import Preflight
from comptroller.pricing import Feed
from comptroller.reports import Artifacts
from comptroller.site import ANYTHING, SitePolicy
from comptroller.status import is_final, stalled
from comptroller.world import Memory, Unusable, World, trial_prefix
from comptroller_api.contract import Report, report_key
from comptroller_api.study import Study
from comptroller_api.trial import Trial

log = structlog.get_logger()

_FAILURES_UNREPORTED = 3
"""Failing passes in a row after which people are notified."""
_OUTDATED = 20
"""Seconds after which what was seen is looked at again before anything more is done on it."""
_ALONE = 300
"""Seconds without a batch of another operator after which none is alive that might launch our leases."""
_PASSES = 32
"""Passes in one `reconcile` before it yields to other namespaces."""

T = TypeVar("T")


async def in_thread(call: Callable[[], T], /) -> T:
    """Off the event loop, for real stores."""
    return await asyncio.to_thread(call)


async def at_once(call: Callable[[], T], /) -> T:
    """Right here, for stores in memory and for a simulation that must replay exactly."""
    return call()


class Controller:
    """Brings namespaces to where their studies say they should be."""

    def __init__(
        self,
        cluster: Cluster,
        journal: Callable[[str], Journal],
        artifacts: Artifacts,
        clock: Callable[[], int],
        *,
        trainer_image: str = "",
        site: SitePolicy = ANYTHING,
        feed: Callable[[], Feed] = dict,
        observer: Callable[[str, World, list[Action]], None] | None = None,
        blocking: Blocking = in_thread,
        unverified_reports: bool = False,
        anchor: Anchor | None = None,
        ledger: str = "",
        unpublished: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Wire the parts.

        Args:
            cluster: what runs the trials.
            journal: opens a namespace's journal; called once for each namespace.
            artifacts: where reports are read.
            clock: unix seconds.
            trainer_image: for studies that name none.
            site: what the platform team requires of every study.
            feed: what price feeds have answered so far.
            observer: called with each pass, for metrics.
            blocking: how calls to stores are made.
            unverified_reports: also take reports whose digest the trainer's termination message lacks.
            anchor: where the heads of journals are published; `None`: nowhere, and nothing is compared.
            ledger: the URI of the journals, for people.
            unpublished: called with a namespace whose head could not be published, for metrics.
        """
        self._cluster = cluster
        self._open_journal = journal
        self._artifacts = artifacts
        self._clock = clock
        self._trainer_image = trainer_image
        self._site = site
        self._feed = feed
        self._observer = observer
        self._blocking = blocking
        self._unverified = unverified_reports
        self._anchor = anchor
        self._ledger = ledger
        self._unpublished = unpublished
        self._journals: dict[str, Anchored] = {}
        self._memories: dict[str, Memory] = {}
        self._failures: Counter[str] = Counter()
        self._preflight = Preflight(artifacts, clock)
        self._at_fault: dict[str, set[str]] = {}
        """The studies whose actions made a namespace's last pass fail; absent where all are concerned."""

    def books(self, namespace: str) -> Books | None:
        """The books of a namespace as of the last pass."""
        anchored = self._journals.get(namespace)
        return anchored.journal.books if anchored else None

    async def reconcile(self, namespace: str) -> bool:
        """Pass over a namespace until nothing is left to append.

        Returns:
            Whether anything was done.

        Raises:
            Exception: whatever the store or the cluster raised; a later call finds out what took effect.
        """
        self._at_fault.pop(namespace, None)
        try:
            acted = await self._reconcile(namespace)
        except Exception as error:
            self._failures[namespace] += 1
            # A refused journal does not mend itself, and what to do changes with what is found.
            if isinstance(error, JournalError) or self._failures[namespace] == _FAILURES_UNREPORTED:
                await self._tell(namespace, error)
            raise
        del self._failures[namespace]
        return acted

    async def _tell(self, namespace: str, error: Exception) -> None:
        """Say in the studies' conditions that passes fail; the next good pass takes it back."""
        if isinstance(error, JournalError):
            reason, message = error.reason, str(error)
        else:
            # Without the error's own words: a request id in them would make each telling a change.
            what = f"the operator's passes over {namespace} fail: {type(error).__name__}"
            reason = "LedgerUnavailable" if isinstance(error, StoreError) else "PassFailing"
            message = f"{what}; nothing is launched and no lease is renewed until one succeeds"
        at_fault = self._at_fault.get(namespace)
        with contextlib.suppress(Exception):  # the cluster may be what fails
            for study in (await self._cluster.observe(namespace)).studies:
                if not is_final(study) and (at_fault is None or study.metadata.uid in at_fault):
                    status = stalled(study, reason, message, self._clock())
                    if status == study.status:
                        continue
                    await self._cluster.act(namespace, RecordStudy(study, status))

    async def _reconcile(self, namespace: str) -> bool:
        acted, leased = False, frozenset[AttemptKey]()
        for _ in range(_PASSES):
            anchored, world = await self._see(namespace, leased=leased)
            actions = await self._blocking(lambda w=world: plan(w))  # type: ignore[misc]
            if any(isinstance(action, Refresh) for action in actions):
                anchored, world = await self._see(namespace, fresh=True, leased=leased)
                actions = await self._blocking(lambda w=world: plan(w))  # type: ignore[misc]
            if self._observer is not None:
                self._observer(namespace, world, actions)
            if not actions:
                return acted
            acted, leased = True, frozenset()
            durable, entries = isinstance(actions[0], Append), tuple[Entry, ...]()
            if isinstance(actions[0], Append):
                entries = await self._vouched(anchored, namespace, actions[0].entries)
                if not await self._blocking(lambda j=anchored.journal, e=entries: j.append(e)):  # type: ignore[misc]
                    continue  # another writer was first: plan again on what it wrote
                if self._clock() - anchored.journal.alone_since > _ALONE:
                    leased = frozenset(e.key for e in entries if isinstance(e, Reserve) and e.lease == 0)
                for entry in entries:
                    log.info("appended", namespace=namespace, **entry.model_dump(mode="json"))
            done = await self._act(namespace, actions[durable:], world)
            if done and not (durable and entries):
                return True
        return acted

    async def _vouched(
        self, anchored: Anchored, namespace: str, entries: tuple[Entry, ...]
    ) -> tuple[Entry, ...]:
        """The entries to append: without leases while the head of the journal cannot be published.

        The clock is read again: leases carry the time of their batch, and a pass may have stood still.
        """
        if not any(isinstance(entry, Reserve) for entry in entries) or await anchored.vouch(self._clock()):
            return entries
        log.warning("no lease is granted while the ledger's head cannot be published", namespace=namespace)
        return tuple(entry for entry in entries if not isinstance(entry, Reserve))

    async def _act(self, namespace: str, actions: list[Action], world: World) -> bool:
        """Carry out all that can be: one study's refused Job does not keep another's from being stopped.

        Returns:
            Whether they are still what `world` asks for. An operator that stood still must not go
            on where it was: what it would launch may have run, ended and been deleted by hand since (P4).
        """
        failures, outdated, at_fault = [], False, set[str]()
        for action in actions:
            if outdated := self._clock() - world.now > _OUTDATED:
                break
            try:
                await self._cluster.act(namespace, action)
            except Exception as error:  # noqa: BLE001 - raised below, once the others are done
                failures.append(error)
                at_fault |= _studies_of(action, world)
        if failures:
            self._at_fault[namespace] = at_fault
            raise failures[0]
        return not outdated

    async def _see(
        self, namespace: str, *, fresh: bool = False, leased: frozenset[AttemptKey]
    ) -> tuple[Anchored, World]:
        now, snapshot = await self._observed(namespace, fresh=fresh)
        anchored = self._journals.get(namespace)
        if anchored is None:
            journal = await self._blocking(lambda: self._open_journal(namespace))
            anchored = self._journals[namespace] = Anchored(
                journal,
                self._anchor,
                namespace,
                self._blocking,
                ledger=self._ledger,
                failed=self._unpublished,
            )
        # After the snapshot, so that no run is seen whose lease is not.
        await anchored.catch_up(now)
        journal = anchored.journal
        world = World(
            now=now,
            namespace=namespace,
            books=journal.books,
            studies=snapshot.studies,
            trials=snapshot.trials,
            runs=snapshot.runs,
            removed=snapshot.removed,
            leased=leased,
            reports=await self._reports(snapshot, journal.books),
            budgets=snapshot.budgets,
            prices=snapshot.prices,
            feed=self._feed(),
            refused=snapshot.refused,
            doubtful=snapshot.doubtful,
            unreachable=self._preflight.found(namespace),
            unpublished=anchored.withheld(now),
            trainer_image=self._trainer_image,
            site=self._site,
            fresh=fresh,
            server_now=snapshot.now,
            memory=self._memories.setdefault(namespace, Memory()),
        )
        return anchored, world

    async def _observed(self, namespace: str, *, fresh: bool) -> tuple[int, Snapshot]:
        """Return what there is, and the time before it was looked at: what it lacks is not older."""
        now = self._clock()
        snapshot = await self._cluster.observe(namespace, fresh=fresh)
        begin = [s for s in snapshot.studies if not snapshot.trials.get(s.metadata.uid) and not is_final(s)]
        if not self._preflight.due(namespace, begin):
            return now, snapshot
        await self._blocking(lambda: self._preflight.check(namespace, begin))
        # That took its time, and no lease may be sized by a clock that has moved on.
        now = self._clock()
        return now, await self._cluster.observe(namespace, fresh=fresh)

    async def _reports(self, snapshot: Snapshot, books: Books) -> dict[AttemptKey, Report | Unusable | None]:
        found: dict[AttemptKey, Report | Unusable | None] = {}
        for study in snapshot.studies:
            for attempt in _awaited(study, snapshot.trials.get(study.metadata.uid, ()), books):
                uri = f"{trial_prefix(study, attempt.trial)}/{report_key(attempt.number)}"
                read = partial(reports.read, self._artifacts, attempt, uri, unverified=self._unverified)
                try:
                    report = await self._blocking(read)
                except StoreError as error:
                    log.warning("report not read", uri=uri, error=str(error)[:500])
                    break  # its store does not answer: the next study must not wait for this one's others
                if isinstance(report, Unusable):
                    log.warning("report refused", uri=uri, error=report.why)
                found[attempt.key] = report
        return found


def _studies_of(action: Action, world: World) -> set[str]:
    """The uid of the study that an action is about; none for one about a budget."""
    match action:
        case RecordTrial(trial):
            return {trial.spec.study_uid}
        case Bury(key):
            return {key.study}
        case CreateTrial(study) | Launch(study) | RecordStudy(study) | Protect(study) | Unprotect(study):
            return {study.metadata.uid}
    name = getattr(action, "name", None)
    return {key.study for key, run in world.runs.items() if run.name == name}


def _awaited(study: Study, trials: Iterable[Trial], books: Books) -> Iterator[Attempt]:
    """Attempts that may have left a report, and whose results are not in their trials' statuses."""
    for trial in trials:
        yield from awaited(trial, books.attempts(study.metadata.uid, trial.spec.number))
