"""`Cluster` on this machine: a subprocess for each attempt, a JSON file for each object."""

import asyncio
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from comptroller import actions as todo
from comptroller.actions import Action
from comptroller.cluster.base import Snapshot
from comptroller.cluster.local.machine import Machine
from comptroller.cluster.local.objects import ObjectFiles
from comptroller.cluster.local.runs import (
    GRANT,
    TERMINATION_LOG,
    Control,
    Ended,
    Placement,
    RunDirectory,
    RunRequest,
    StopRequest,
)
from comptroller.heartbeats import Tracker, client, over_http, scrape
from comptroller.world import Exit, Run
from comptroller_api import quantity
from comptroller_api.contract import (
    ASSIGNMENT_ENV,
    EXIT_FINISHED,
    EXIT_SUSPENDED,
    LEASE_OVER,
    LEAVES_A_REPORT,
    Assignment,
    Heartbeat,
    report_digest,
    without_digest,
)
from comptroller_api.study import Artifacts, Study
from comptroller_api.text import plain

TRAINER = (sys.executable, "-m", "comptroller_trainer")
_SCRAPE_EVERY = 2.0
"""Seconds between two looks at a heartbeat."""


class Local:
    """Runs attempts below a directory, as many at once as the machine holds, in the order they came.

    Everything it knows is in files, so that it can be killed at any point and made again on the directory.
    Attempts have a supervisor each, which outlives it and ends them at their deadline.
    """

    def __init__(
        self,
        directory: Path,
        *,
        command: Sequence[str] = TRAINER,
        machine: Machine | None = None,
        clock: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        """Use `directory`, which one process at a time may do.

        Args:
            directory: absolute. Artifacts go below `artifacts/`, whatever a study says.
            command: the trainer.
            machine: what may be used; by default all of this machine.
            clock: unix seconds.
        """
        self.objects = ObjectFiles(directory / "objects")
        self.artifacts = f"file://{directory / 'artifacts'}"
        self._directory = directory / "runs"
        self._command = list(command)
        self._machine = machine or Machine.this()
        self._clock = clock
        self._runs: dict[str, dict[str, RunDirectory]] = {}
        self._released: set[Path] = set()
        self._tracker = Tracker()
        self._pulse: dict[str, tuple[float, Heartbeat | None]] = {}
        self._http: httpx.AsyncClient | None = None
        for path in self._directory.glob("*"):
            self._all(path.name)  # what runs already takes its share of the machine

    async def close(self) -> None:
        """Let go of connections; attempts go on."""
        if self._http is not None:
            await self._http.aclose()

    # -- observe -------------------------------------------------------------------------------------------

    async def observe(self, namespace: str, *, fresh: bool = False) -> Snapshot:
        """Everything of a namespace; always fresh."""
        del fresh
        studies = tuple(self._placed(study) for study in self.objects.studies(namespace))
        runs = self._all(namespace)
        self._schedule()
        live = [run for run in runs if run.placement is not None and run.ended is None]
        await asyncio.gather(*(self._scrape(run) for run in live))
        self._tracker.forget([run.name for run in live])
        thresholds = {
            study.metadata.uid: study.spec.runtime.idle.threshold
            for study in studies
            if study.spec.runtime.idle is not None
        }
        return Snapshot(
            studies=studies,
            trials={s.metadata.uid: self.objects.trials(namespace, s.metadata.uid) for s in studies},
            runs={run.key: self._run(run, thresholds.get(run.key.study)) for run in runs},
            budgets=self.objects.budgets(namespace),
            prices=self.objects.prices(),
        )

    def _placed(self, study: Study) -> Study:
        """The study with its artifacts here; unvalidated, since a manifest may only name S3."""
        root = Artifacts.model_construct(uri=self.artifacts, credentials_secret=None)
        return study.model_copy(update={"spec": study.spec.model_copy(update={"artifacts": root})})

    def _all(self, namespace: str) -> list[RunDirectory]:
        """The runs whose books are not closed yet, by creation."""
        known = self._runs.setdefault(namespace, {})
        for path in (self._directory / namespace).glob("[!.]*"):
            if path in self._released or path.name in known:
                continue
            if (path / "released").exists():
                self._released.add(path)
            else:
                known[path.name] = RunDirectory(path)
        return sorted(known.values(), key=lambda run: (run.request.created, run.name))

    def _run(self, run: RunDirectory, threshold: int | None) -> Run:
        control, placement, ended = run.control, run.placement, run.ended
        done = Exit()
        if ended is not None:
            left = run.message
            message = "" if ended.code == EXIT_FINISHED else plain(without_digest(left), 512)
            by_guard = ended.code == EXIT_SUSPENDED and message.startswith(LEASE_OVER)
            digest = report_digest(left) if ended.code in LEAVES_A_REPORT else None
            done = Exit(ended.code, message, digest, deadline=ended.deadline or by_guard)
        idle = 0 if threshold is None else self._tracker.idle_seconds(run.name, threshold, time.monotonic())
        return Run(
            key=run.key,
            name=run.name,
            deadline=control.deadline,
            granted=run.granted,
            started=run.request.created if run.request.assignment is not None else None,
            scheduled=placement.scheduled if placement is not None else None,
            ended=ended.ended if ended is not None else None,
            exit=done,
            stop=control.stop.end if control.stop is not None else None,
            stop_reason=control.stop.reason if control.stop is not None else "",
            heartbeat=self._pulse.get(run.name, (0.0, None))[1],
            idle_seconds=idle,
            released=run.released,
        )

    async def _scrape(self, run: RunDirectory) -> None:
        now = time.monotonic()
        if (
            run.placement is None
            or now - self._pulse.get(run.name, (-_SCRAPE_EVERY, None))[0] < _SCRAPE_EVERY
        ):
            return
        self._http = self._http or client()
        url = f"http://127.0.0.1:{run.placement.port}/heartbeat"
        heard = await scrape(over_http(self._http, url), run.name)
        self._tracker.record(run.name, heard, now)
        self._pulse[run.name] = (now, heard)

    # -- act -----------------------------------------------------------------------------------------------

    async def act(self, namespace: str, action: Action) -> None:  # noqa: C901, PLR0912  (one line for each action)
        """Carry out one action."""
        match action:
            case todo.CreateTrial():
                self.objects.create_trial(action.trial)
            case todo.Launch():
                self._launch(namespace, action)
            case todo.Bury():
                self._bury(namespace, action)
            case todo.Extend(name, seconds):
                if (run := self._find(namespace, name)) is not None and seconds > run.control.deadline:
                    run.set_control(run.control.model_copy(update={"deadline": seconds}))
            case todo.Grant(name, seconds):
                if (run := self._find(namespace, name)) is not None:
                    run.grant(seconds)
            case todo.Stop():
                self._stop(namespace, action)
            case todo.Release(name):
                self._release(namespace, name)
            case (
                todo.RecordTrial(one, status) | todo.RecordStudy(one, status) | todo.RecordBudget(one, status)
            ):
                self.objects.record(one, status)
            case todo.Protect(study):
                self.objects.protect(study)
            case todo.Unprotect(study):
                self.objects.unprotect(study)
            case _:
                raise TypeError(f"{type(action).__name__} is not for the cluster")

    def _launch(self, namespace: str, launch: todo.Launch) -> None:
        work = launch.assignment
        request = RunRequest(
            study=launch.study.metadata.uid,
            trial=work.trial,
            attempt=work.attempt,
            created=self._clock(),
            assignment=work,
            resources=launch.resources,
        )
        control = Control(deadline=work.lease_seconds, grace=work.grace_seconds)
        RunDirectory.create(self._directory / namespace / work.name, request, control)
        self._all(namespace)
        self._schedule()

    def _bury(self, namespace: str, bury: todo.Bury) -> None:
        request = RunRequest(
            study=bury.key.study,
            trial=bury.key.trial,
            attempt=bury.key.attempt,
            created=self._clock(),
            assignment=None,
        )
        control = Control(deadline=0, grace=0, stop=StopRequest(end="Suspended", reason=bury.reason[:512]))
        RunDirectory.create(self._directory / namespace / bury.name, request, control)

    def _stop(self, namespace: str, stop: todo.Stop) -> None:
        run = self._find(namespace, stop.name)
        if run is None or run.control.stop is not None:
            return
        wish = StopRequest(end=stop.end, reason=stop.reason[:512])
        run.set_control(run.control.model_copy(update={"stop": wish}))
        if run.placement is None and run.ended is None:
            run.end(Ended(code=None, ended=self._clock()))

    def _release(self, namespace: str, name: str) -> None:
        run = self._find(namespace, name)
        if run is not None:
            run.release()
            self._released.add(run.path)
            del self._runs[namespace][name]
            self._pulse.pop(name, None)

    def _find(self, namespace: str, name: str) -> RunDirectory | None:
        if name not in self._runs.get(namespace, {}):
            self._all(namespace)
        return self._runs[namespace].get(name)

    # -- the scheduler -------------------------------------------------------------------------------------

    def _schedule(self) -> None:
        """Record what ended with nobody there to say so, and start what now fits."""
        now = self._clock()
        every = [run for runs in self._runs.values() for run in runs.values() if run.ended is None]
        for run in every:
            over = run.request.created + run.control.deadline
            if run.placement is None and now >= over:
                run.end(Ended(code=None, ended=over, deadline=True))
            elif run.vanished():
                run.end(Ended(code=None, ended=min(now, over + run.control.grace)))
        waiting = [run for run in every if run.ended is None and run.placement is None]
        for run in sorted(waiting, key=lambda run: (run.request.created, run.name)):
            taken = [other.share for other in every if other.ended is None and other.share is not None]
            work, share = run.request.assignment, self._machine.share(run.request.resources, taken)
            if share is None or work is None:
                return  # nobody overtakes
            placement = Placement(scheduled=now, port=_free_port(), cores=share.cores, gpus=share.gpus)
            run.start(placement, now - run.request.created, self._command, _environment(run, work, placement))


def _environment(run: RunDirectory, work: Assignment, placement: Placement) -> dict[str, str]:
    work = work.model_copy(update={"heartbeat_port": placement.port})
    threads = str(len(placement.cores))
    return dict(os.environ) | {
        ASSIGNMENT_ENV: work.model_dump_json(by_alias=True, exclude_none=True),
        "COMPTROLLER_GRANT_FILE": str(run.path / GRANT),
        "COMPTROLLER_TERMINATION_LOG": str(run.path / TERMINATION_LOG),
        "COMPTROLLER_CPUS": f"{quantity.milli(run.request.resources.cpu) / 1000:g}",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        # A study that requests no GPU pays for no GPU.
        "CUDA_VISIBLE_DEVICES": ",".join(map(str, placement.gpus)),
    }


def _free_port() -> int:
    """A port that was free a moment ago; a trainer that finds it taken just says nothing of itself."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
