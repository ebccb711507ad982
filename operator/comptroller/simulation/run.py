"""One run: a cluster, a ledger, its operators, what befalls them, and the oracle that watches."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from comptroller.actions import Action
from comptroller.cluster.simulated import Change, Pod, Simulated, SimulatedJob, Witness
from comptroller.ledger.anchor import MemoryAnchor
from comptroller.ledger.chain import JournalError
from comptroller.ledger.stores.memory import MemoryStore
from comptroller.pricing import Feed
from comptroller.simulation.convergence import at_rest, unsettled
from comptroller.simulation.oracle import Oracle, Violation
from comptroller.simulation.people import FOREIGN
from comptroller.simulation.process import JOURNAL, Looked, Process
from comptroller.simulation.schedule import Event, Schedule
from comptroller.simulation.tenants import exceeded
from comptroller.simulation.trace import Trace

_CONVERGES_IN = 3 * 3600
"""Virtual seconds after the last fault in which all must have come to rest."""
_RESYNC, _RESYNC_CALM, _RESYNC_IDLE = 10, 15, 60
"""Seconds between passes where nothing wakes an operator."""
_ADMINISTRATOR = "administrator"
_MOST_PASSES = 3000


@dataclass
class Result:
    """The result of one run."""

    seed: int
    violations: list[Violation]
    digest: str
    seconds: int
    """Virtual."""
    batches: int
    launches: int
    trace: list[str] = field(default_factory=list)


class _Stored(MemoryStore):
    """The batches that are truly durable; the oracle sees every one of them."""

    def __init__(self, run: "Run") -> None:
        super().__init__()
        self._run = run

    def create(self, key: str, data: bytes) -> None:
        super().create(key, data)
        self._run.stored(key, data)


class Run(Witness):
    """Everything in one run of the simulation."""

    process: type[Process] = Process
    """The class of operators' processes."""

    def __init__(self, schedule: Schedule, *, keep_trace: bool = False) -> None:
        """Set the stage; nothing has happened yet."""
        self.seed = schedule.seed
        self.schedule = schedule
        self.reports: dict[str, bytes] = {}
        self.bad_reports: list[str] = []
        """The fates of the next reports: `lost`, `garbage` or `foreign`."""
        self.cluster = Simulated(
            schedule.seed,
            self._put_report,
            nodes=schedule.nodes,
            milli_cores=schedule.milli_cores,
            now=schedule.start,
        )
        self.cluster.witness = self
        self.cluster.server.watchers.append(self._written)
        self.store: MemoryStore = _Stored(self)
        self.anchor = MemoryAnchor()
        self.oracle = Oracle(self.cluster, lag=schedule.lag, slack=schedule.slack)
        self.trace = Trace(schedule.start, keep=keep_trace)
        self.skews: dict[str, int] = {}
        """Seconds by which an operator's clock is ahead; by operator."""
        self.damaged: dict[int, bytes] = {}
        """Snapshots that are not what was stored, by their batch."""
        self.missing: dict[str, bytes] = {}
        """The objects that are not in the bucket since it was rolled back."""
        self.restored = 0
        """The last restoration of the bucket, in unix seconds."""
        self.feed: Feed = {}
        """The answers of price feeds without faults."""
        self.feed_parts: list[int] = []
        """The parts of the price that feeds answer instead; 0: nothing."""
        self.store_away = False
        self.store_seconds = 0
        """The seconds that a call to S3 takes."""
        self.watches_last = False
        """While the API server is away, operators continue with the objects of their watches."""
        self.processes: dict[str, Process] = {}
        self.looked: dict[bytes, Looked] = {}
        """The writer's view when it planned a batch; by the batch."""
        self.next_jobs: list[str] = []
        """The faults of the pods of the next Jobs, each a field of `Pod`."""
        self.guests: list[str] = []
        """Jobs that are nobody's of ours."""
        self.batches = self.actions = self.passes = 0
        self.is_calm = False
        self._generations: dict[str, int] = {}
        self._rested = False

    # -- running -------------------------------------------------------------------------------------------

    def execute(self) -> Result:
        """Run it to its end, or to the first violation."""
        timeline, start = self.cluster.timeline, self.schedule.start
        self.start_operator("a")
        for event in self.schedule.events:
            timeline.at(start + event.at, lambda e=event: self._happen(e))  # type: ignore[misc]
        self._go_to(start + self.schedule.horizon)
        if not self.oracle.violations:
            self._calm_down()
            self._converge()
        return Result(
            seed=self.seed,
            violations=self.oracle.violations,
            digest=self.trace.digest,
            seconds=self.cluster.now - start,
            batches=self.batches,
            launches=len(self.cluster.launches),
            trace=self.trace.lines,
        )

    def _go_to(self, until: int) -> bool:
        """Let time pass to `until`; `False` where a violation or rest came first."""
        timeline = self.cluster.timeline
        while (due := timeline.next) is not None and due <= until:
            timeline.run(due)
            if self.oracle.violations or self._rested:
                return False
        timeline.run(until)
        return True

    def _converge(self) -> None:
        """All comes to rest, and a new operator finds nothing to do."""
        limit = self.cluster.now + _CONVERGES_IN
        if self._go_to(limit):
            self.oracle.violated(
                "P5", f"not at rest after {_CONVERGES_IN}s without faults: {unsettled(self)}"
            )
        if self.oracle.violations:
            return
        self.say("---", "at rest; a new operator looks")
        before = (self.actions, self.batches)
        self._rested = False
        self.stop_operators()
        self.start_operator("z", delay=0)  # at this very moment: a second later another day may begin
        if self._go_to(self.cluster.now + 5 * _RESYNC_IDLE):
            self.oracle.violated("P5", "a new operator does not come to rest")
        elif not self.oracle.violations and (self.actions, self.batches) != before:
            self.oracle.violated(
                "P5", "a new operator found something to do where the old one had found nothing"
            )
        at_rest(self)

    def _happen(self, event: Event) -> None:
        if not self.is_calm:
            self.say("***", str(event))
            event.happen(self)

    def _calm_down(self) -> None:
        """The faults are over; everything that is lost forever stays lost."""
        self.is_calm = True
        self.say("---", "no more faults")
        self.skews.clear()
        self.store_away, self.store_seconds, self.watches_last = False, 0, False
        self.bad_reports.clear()
        self.next_jobs.clear()
        self.cluster.pulls.clear()
        self._see_off()
        for process in self.processes.values():
            process.arrive()
            process.calm()
        self.stop_operator("b")
        self.cluster.api_up = self.cluster.controllers_alive = True
        for node in self.cluster.nodes:
            if not node.forever:
                self.cluster.cut(node, off=False)
        if "a" not in self.processes:
            self.start_operator("a")

    def _see_off(self) -> None:
        """Remove the obstacles of tenants, as somebody would do in the end.

        A Job that is suspended before it began waits and holds its lease, as in a queue, until it is resumed.
        """
        server = self.cluster.server
        for job in self.cluster.jobs.values():
            if job.tampered and job.key is not None and job.body["spec"].get("suspend"):
                server.merge("jobs", job.name, {"spec": {"suspend": False}}, _ADMINISTRATOR)
        server.webhooks.clear()
        server.policies[:] = [policy for policy in server.policies if policy is not exceeded]
        for name in self.guests:
            if server.named("jobs", name) is not None:  # it keeps its name, and its pod no node
                server.merge("jobs", name, {"spec": {"suspend": True}}, _ADMINISTRATOR)

    # -- operators -----------------------------------------------------------------------------------------

    @property
    def crowded(self) -> bool:
        """Several operators are alive."""
        return len(self.processes) > 1

    @property
    def resync(self) -> int:
        """Seconds to an operator's next pass."""
        if not self.is_calm:
            return _RESYNC
        return _RESYNC_CALM if any(pod.running for pod in self.cluster.live.values()) else _RESYNC_IDLE

    def start_operator(self, slot: str, delay: int = 1) -> None:
        """Start one that remembers nothing, where none is alive in its place."""
        if slot not in self.processes:
            generation = self._generations[slot] = self._generations.get(slot, -1) + 1
            self.processes[slot] = self.process(self, slot, generation, delay)
            self.say(f"{slot}{generation}", "starts")

    def stop_operator(self, slot: str) -> None:
        """Kill it, where it is alive."""
        if (process := self.processes.pop(slot, None)) is not None:
            process.kill()
            self.say(process.name, "is killed")

    def stop_operators(self) -> None:
        """Kill all."""
        for slot in list(self.processes):
            self.stop_operator(slot)

    def die(self, process: Process, down: int) -> None:
        """Note that a process has died; another takes its place after `down` seconds."""
        if self.processes.get(process.slot) is process:
            del self.processes[process.slot]
            self.cluster.timeline.after(down, lambda: self._succeed(process.slot))

    def _succeed(self, slot: str) -> None:
        if not self.is_calm or slot == "a":
            self.start_operator(slot)

    def rested(self, process: Process) -> None:
        """An operator found nothing to do."""
        if process.watches.up_to_date and self.cluster.api_up and process.saw.batches == self.batches:
            self.oracle.on_rest(process.name, process.saw.clock)
        if self.is_calm and not unsettled(self):
            self._rested = process.idle

    def raised(self, process: Process, error: Exception) -> None:
        """An operator raised what only a mistake of ours raises, or refuses a bucket that was rolled back."""
        if isinstance(error, JournalError) and (self.missing or process.saw.at <= self.restored):
            return
        self.oracle.violated("Error", f"{process.name} raised {type(error).__name__}: {error}")

    def acted(self, process: Process, action: Action, what: str) -> None:
        """An action took effect."""
        self.actions += 1
        self.say(process.name, what)
        del action

    # -- what truly happens --------------------------------------------------------------------------------

    def say(self, who: str, what: str) -> None:
        """Into the trace."""
        self.trace.say(self.cluster.now, who, what)

    def stored(self, key: str, data: bytes) -> None:
        """An object is durable."""
        self.trace.mark(data)
        if key in self.missing and data != self.missing[key]:
            self.oracle.violated("P1", f"{key} is written again after the bucket was rolled back")
        elif key.startswith(JOURNAL):
            self.batches += 1
            for line in self.oracle.batch(data, self.looked.get(data)):
                self.say("ledger", line)

    def launched(self, job: SimulatedJob) -> None:
        """`Witness`."""
        if job.body["spec"]["template"]["spec"]["containers"][0]["image"] == FOREIGN:
            job.faults.append("hostile")
        if self.next_jobs:
            job.faults.append(self.next_jobs.pop(0))
        acting = next((process for process in self.processes.values() if process.acting), None)
        self.oracle.on_launch(job, self.cluster.now - acting.saw.at if acting is not None else 0)

    def ended(self, pod: Pod) -> None:
        """`Witness`."""
        ran = self.cluster.now - pod.scheduled if pod.scheduled is not None else 0
        self.say("pod", f"{pod.name} ends after {ran}s: {_how(pod)}")
        self.oracle.on_end(pod)

    def _written(self, change: Change) -> None:
        if change.resource in {"jobs", "pods"}:
            self.oracle.on_write(change)

    def changed(self) -> None:
        """`Witness`."""
        for process in self.processes.values():
            process.wake()

    def _put_report(self, uri: str, data: bytes) -> None:
        how = self.bad_reports.pop(0) if self.bad_reports else ""
        if how == "garbage":
            data = data[: len(data) // 2]
        elif how == "foreign":
            data = data.replace(b'"attempt":', b'"attempt":9')
        if how:
            self.say("report", f"{how}: {uri.rsplit('/', 5)[-1]}")
        if how != "lost":
            self.reports[uri] = data


def _how(pod: Pod) -> str:
    parts: Iterable[str] = (
        "" if pod.exit is None else f"exit {pod.exit.code}",
        "its own deadline" if pod.by_deadline else "",
        "" if pod.reported_at is not None or pod.reachable else "nobody hears of it",
    )
    return ", ".join(part for part in parts if part) or "no word"
