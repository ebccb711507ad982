"""One run of one operator: the real controller, stepped by hand, on a machine that may stop at any step.

Every call to the store and to the API server has two points, before its effect and after it. At any point the
process may die, or stand still while the world continues; between two calls another operator may do as much
as it likes. Nothing of a dead process is used again but what it made durable.
"""

import random
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from kubernetes.aio.client.exceptions import ApiException

from comptroller import actions as todo
from comptroller.actions import Action
from comptroller.cluster import Snapshot
from comptroller.cluster.simulated import OPERATOR, Connection, Heartbeats, Lost, Watches
from comptroller.controller import Controller
from comptroller.ledger.journal import Journal
from comptroller.ledger.store import MAX_OBJECT, Store, StoreError, Unavailable
from comptroller.ledger.stores.faulty import Fault, FaultyStore
from comptroller.simulation.costs import answered

if TYPE_CHECKING:
    from comptroller.simulation.run import Run

T = TypeVar("T")

NAMESPACE = "team"
JOURNAL = f"ledger/{NAMESPACE}/journal/"
_SOON = 1
_LONGEST_PAUSE = 30
"""Seconds between passes that fail, at most."""
_WRITES = frozenset({"create", "merge", "patch"})
_SNAPSHOT_EVERY = 8
"""Batches; so few that most runs read one."""


class Crashed(BaseException):
    """The process is dead. Not an `Exception`: nothing in it may go on."""


@dataclass
class Stop:
    """A fault of a process at one of its next points."""

    points: int
    """The number of points that it has left."""
    stand: int = 0
    """Seconds to stand still; 0: it dies."""
    down: int = 0
    """Seconds from its death to its successor's start."""


@dataclass(frozen=True, slots=True)
class Looked:
    """The moment at which an operator read the world."""

    clock: int
    """The operator's clock at that moment."""
    at: int
    """The true time."""
    batches: int
    """The number of durable batches."""
    scraped: Mapping[str, int]
    """The operator's first scrapes for heartbeats, by the pods' names."""


class _Turn:
    """Lets others go on for some seconds, perhaps none."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator[int | None, None, None]:
        yield self.seconds


class Process(Store):
    """A process is its own view of the store and of the cluster."""

    def __init__(self, run: "Run", slot: str, generation: int, delay: int = _SOON) -> None:
        """Start it; it remembers nothing, and makes its first pass after `delay` seconds."""
        self.name = f"{slot}{generation}"
        self.slot = slot
        self.dead = False
        self.watches, self.pulse = Watches(run.cluster), Heartbeats(run.cluster)
        connection = Connection(run.cluster, OPERATOR, self._enter)
        self._cluster = run.cluster.connect(self.watches, self.pulse, connection)
        self.saw = self._looked = Looked(0, 0, 0, self.pulse.scraped)
        self.store_faults: list[tuple[str, Fault]] = []
        """The fate of the next calls, by their kind."""
        self.lost_actions: list[bool] = []
        """The next actions that raise: whether they take effect."""
        self._stops: list[Stop] = []
        self._run = run
        self._rng = random.Random(f"{run.seed}/{self.name}")
        self._remote = FaultyStore(run.store, self._fate)
        self._controller = Controller(
            self,
            self._journal,
            self,
            self._look_at_clock,
            trainer_image="trainer",
            feed=lambda: answered(run),
            blocking=self._blocking,
            anchor=run.anchor,
        )
        self._pass: Coroutine[Any, Any, bool] | None = None
        self._due = -1
        self._again = self._busy = self.acting = self._effect = False
        self._doing = ""
        """The action under way."""
        self._pause = 1
        self.idle = False
        """The operator's last pass found nothing to do, and nothing has changed since."""
        self._pass_in(delay)

    def clock(self) -> int:
        """Unix seconds, as its machine has them."""
        return self._run.cluster.now + self._run.skews.get(self.slot, 0)

    def _look_at_clock(self) -> int:
        now = self._run.cluster.now
        self._looked = Looked(self.clock(), now, self._run.batches, self.pulse.scraped)
        return self._looked.clock

    def _journal(self, namespace: str) -> Journal:
        return Journal(
            self,
            "cluster",
            namespace,
            self.name,
            self.clock,
            pause=lambda _: None,
            snapshot_every=_SNAPSHOT_EVERY,
        )

    # -- passes --------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something has changed: pass soon, or once more."""
        self.idle = False
        if self.acting:
            return  # it was its own doing
        if self._pass is None:
            self._pass_in(_SOON)
        else:
            self._again = True

    def _pass_in(self, seconds: int) -> None:
        due = self._run.cluster.now + seconds
        if self._due < 0 or due < self._due:
            self._due = due
            self._run.cluster.timeline.at(due, lambda: self._begin(due))

    def _begin(self, due: int) -> None:
        if self.dead or self._pass is not None or due != self._due:
            return
        self._due = -1
        self._again = False
        self._pass = self._controller.reconcile(NAMESPACE)
        self._go_on()

    def _go_on(self) -> None:
        if self.dead or self._pass is None:
            return
        self._busy = True
        try:
            seconds = self._pass.send(None)
        except StopIteration as stop:
            self._passed(acted=bool(stop.value))
        except Crashed:
            self._pass = None
        except (StoreError, Lost, ApiException) as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 - the oracle gets it
            self._failed(error)
            self._run.raised(self, error)
        else:
            self._run.cluster.timeline.after(seconds, self._go_on)
        finally:
            self._busy = False

    def _passed(self, *, acted: bool) -> None:
        self._pass, self._pause = None, 1
        if acted or self._again:
            self._pass_in(_SOON)
        else:
            self.idle = True
            self._pass_in(self._run.resync)
            self._run.rested(self)

    def _failed(self, error: Exception) -> None:
        self._run.say(self.name, f"pass failed: {type(error).__name__}: {error}")
        self._pass = None
        self._pause = min(_LONGEST_PAUSE, self._pause * 2)
        self._pass_in(self._pause)

    # -- points --------------------------------------------------------------------------------------------

    @property
    def armed(self) -> tuple[object, ...]:
        """The faults that are prepared for it."""
        return (*self._stops, *self.lost_actions, *self.store_faults)

    def stop_at(self, stop: Stop) -> None:
        """Stand still, or die, when so many points have passed."""
        self._stops.append(stop)

    def kill(self) -> None:
        """Die at the next point, or now where it is between passes."""
        self.dead = True
        self._run.cluster.disconnect(self.watches)
        if not self._busy and self._pass is not None:
            self._pass.close()
            self._pass = None

    def calm(self) -> None:
        """Clear the pending faults."""
        self._stops.clear()
        self.store_faults.clear()
        self.lost_actions.clear()
        self.watches.thaw()

    def _point(self, when: str, what: str) -> None:
        if self._stops:
            for stop in self._stops:
                stop.points -= 1
            due = [stop for stop in self._stops if stop.points <= 0]
            self._stops = [stop for stop in self._stops if stop.points > 0]
            for stop in due:
                self._befall(stop, f"{when} {what}")
        if self.dead:
            raise Crashed

    def _befall(self, stop: Stop, where: str) -> None:
        if stop.stand:
            self._run.say(self.name, f"stands still for {stop.stand}s {where}")
            self._stand(stop.stand)
        elif not self.dead:
            self._run.say(self.name, f"dies {where}")
            self.dead = True
            self._run.cluster.disconnect(self.watches)
            self._run.die(self, stop.down)

    def _stand(self, seconds: int) -> None:
        """Let time pass, for all others too."""
        self._run.cluster.timeline.run(self._run.cluster.now + seconds)
        if self.dead:
            raise Crashed

    def _turn(self) -> "_Turn | _Straight":
        if not self._run.crowded:
            return _STRAIGHT
        return _Turn(self._rng.choice((0, 0, 0, 0, 0, 0, 1, 2)))

    async def _blocking(self, call: Callable[[], T], /) -> T:
        await self._turn()
        return call()

    # -- the store -----------------------------------------------------------------------------------------

    def _fate(self, operation: str, key: str) -> Fault:
        for place, (kind, fault) in enumerate(self.store_faults):
            if kind == operation or (kind == "read" and operation in {"get", "keys"}):
                del self.store_faults[place]
                if fault is not Fault.NONE:
                    self._run.say(self.name, f"S3: {fault.name} of {operation} {key.rsplit('/', 1)[-1]}")
                return fault
        return Fault.NONE

    def _call(self, what: str, call: Callable[[], T]) -> T:
        self._point("before", what)
        if self._run.store_away:
            raise Unavailable(f"{what}: S3 is away")
        if slow := self._run.store_seconds:
            self._stand(slow // 2)
        try:
            return call()
        finally:
            if slow:
                self._stand(slow - slow // 2)
            self._point("after", what)

    def create(self, key: str, data: bytes) -> None:
        self._run.looked.setdefault(data, self.saw)
        self._call(f"PUT {_short(key)}", lambda: self._remote.create(key, data))

    def get(self, key: str, limit: int = MAX_OBJECT) -> bytes | None:
        if key.startswith("s3://"):  # `Artifacts`
            return self._call(f"GET {_short(key)}", lambda: self._report(key))
        return self._call(f"GET {_short(key)}", lambda: self._remote.get(key, limit))

    def first(self, uri: str) -> str | None:
        return self._call(f"LIST {_short(uri)}", lambda: uri)

    def keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        return self._call(f"LIST {prefix}", lambda: iter(list(self._remote.keys(prefix, after))))

    def delete(self, key: str) -> None:
        self._call(f"DELETE {_short(key)}", lambda: self._remote.delete(key))

    def arrive(self) -> None:
        """Let everything that is still under way take effect, where it can."""
        self._remote.arrive()

    def _report(self, uri: str) -> bytes | None:
        if self._fate("get", uri) is not Fault.NONE:
            raise Unavailable(f"{uri}: no answer")
        return self._run.reports.get(uri)

    # -- the cluster ---------------------------------------------------------------------------------------

    async def observe(self, namespace: str, *, fresh: bool = False) -> Snapshot:
        """`Cluster`."""
        self.saw = self._looked  # at its clock, just now
        await self._turn()
        self._point("before", "it looks")
        if not self._run.cluster.api_up and (fresh or not self._run.watches_last):
            raise Lost("the API server is away")
        self.pulse.listen()
        return await self._cluster.observe(namespace, fresh=fresh)

    async def act(self, namespace: str, action: Action) -> None:
        """`Cluster`."""
        self._doing, self._effect = described(action), False
        try:
            await self._cluster.act(namespace, action)
        finally:
            what, self._doing = self._doing, ""
            if self._effect:
                self._run.acted(self, action, what)
        if not self._effect:
            self._run.say(self.name, f"{what} (without effect)")

    async def _enter(self, what: str, call: Callable[[], Any]) -> Any:
        """Make one call to the API server."""
        await self._turn()
        place = self._doing or what
        self._point("before", place)
        if not self._run.cluster.api_up:
            raise Lost("the API server is away")
        writes = what.split(" ", 1)[0] in _WRITES
        lost = self.lost_actions.pop(0) if writes and self.lost_actions else None
        if lost is False:
            self._run.say(self.name, f"{place} is lost")
            raise Lost(place)
        self.acting = True
        try:
            found = call()
        finally:
            self.acting = False
        self._effect |= writes and found is not None
        self._point("after", place)
        if lost is not None:
            self._run.say(self.name, f"hears nothing of {place}")
            raise Lost(place)
        return found


class _Straight:
    """An awaitable that lets nobody else run."""

    def __await__(self) -> Generator[int | None, None, None]:
        return
        yield


_STRAIGHT = _Straight()


def _short(key: str) -> str:
    return key.rsplit("/", 1)[-1] if "report" not in key else "/".join(key.rsplit("/", 4)[1:])


def described(action: Action) -> str:
    """Return an action as a person would describe it."""
    match action:
        case todo.Launch():
            what = f"{action.assignment.name} for {action.assignment.lease_seconds}s"
        case todo.Extend(name, seconds) | todo.Grant(name, seconds):
            what = f"{name} to {seconds}s"
        case todo.Stop(name, end, reason):
            what = f"{name} as {end}: {reason}"
        case todo.Bury() | todo.Release():
            what = action.name
        case todo.Append() | todo.Refresh():
            what = ""
        case _:
            what = _told_status(action)
    return f"{type(action).__name__} {what}".rstrip()


def _told_status(action: Action) -> str:
    match action:
        case todo.CreateTrial(_, trial):
            return trial.metadata.name
        case todo.RecordTrial(trial, status):
            return f"{trial.metadata.name}: {status.outcome or status.state}"
        case todo.RecordStudy(study, status):
            stands = next((f"{c.type} {c.reason}" for c in status.conditions if c.status == "True"), "")
            return f"{study.metadata.name}: {status.progress} {stands}"
        case todo.RecordBudget(budget, status):
            return f"{budget.metadata.name}: {status.spent} spent, {status.held} held"
        case todo.Protect(study) | todo.Unprotect(study):
            return study.metadata.name
    return ""
