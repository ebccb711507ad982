"""The simulated cluster, and this machine, as stages for the suite of clusters."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from comptroller.actions import Stop
from comptroller.admission import admit
from comptroller.cluster.base import Cluster
from comptroller.cluster.local import Local, Machine
from comptroller.cluster.simulated import OPERATOR, PERSON, Connection, Heartbeats, Lost, Simulated, Watches
from comptroller.cluster.testing import ClusterStage, Failure
from comptroller_api.study import Study
from support.attempts import STUDY

from .local.conftest import PATIENCE, TRAINER

NAPS = Path(__file__).parents[1] / "cli" / "naps.yaml"
_SHORT, _LONG = 5, 100_000
"""Seconds of work."""


class SimulatedStage(ClusterStage):
    """The real cluster's adapter on a simulated API server, in virtual time."""

    namespace = "team"

    def __init__(self, changed: Callable[[Cluster], Cluster] = lambda cluster: cluster) -> None:
        self.simulated = Simulated(
            0, lambda _uri, _report: None, work=lambda work: int(work.parameters["recipe.nap"])
        )
        self.simulated.apply(STUDY)
        self._changed = changed
        self._failure: Failure | None = None
        self._requests = 0
        self.cluster = self.another()

    def another(self) -> Cluster:
        watches, pulse = Watches(self.simulated), Heartbeats(self.simulated)
        connection = Connection(self.simulated, OPERATOR, self._enter)
        return self._changed(self.simulated.connect(watches, pulse, connection))

    async def _enter(self, what: str, call: Callable[[], Any]) -> Any:
        self._requests += 1
        await asyncio.sleep(0)  # others may come in between
        writes = what.split(maxsplit=1)[0] in {"create", "merge", "patch"}
        if writes and self._failure == "before":
            raise Lost(what)
        answer = call()
        if writes and self._failure == "after":
            raise Lost(what)
        return answer

    def work(self, *, long: bool) -> tuple[dict[str, str], int]:
        return {"recipe.nap": str(_LONG if long else _SHORT)}, 1

    def trainers(self) -> int:
        return sum(pod.container is not None for pod in self.simulated.pods.values())

    async def turn(self) -> None:
        self.simulated.advance(1)

    async def over(self, name: str) -> None:
        (job,) = [one for one in self.simulated.all_jobs.values() if one.name == name]
        for _ in range(600):
            if not job.running:
                return
            self.simulated.advance(1)
        raise AssertionError(f"{name} still runs")

    @contextmanager
    def failing(self, failure: Failure) -> Iterator[None]:
        self._failure = failure
        yield
        self._failure = None

    @contextmanager
    def deaf(self) -> Iterator[None]:
        watches = list(self.simulated.watches)
        for one in watches:
            one.freeze()
        yield
        for one in watches:
            one.thaw()

    def suspend(self) -> None:
        self.simulated.edit("studies", STUDY.metadata.name, {"spec": {"suspend": True}})

    def remove(self, name: str) -> None:
        job = self.simulated.jobs[name]
        for resource, one in [*(("pods", pod.name) for pod in job.pods), ("jobs", name)]:
            self.simulated.edit(resource, one, {"metadata": {"finalizers": None}})
        for resource, one in [("jobs", name), *(("pods", pod.name) for pod in job.pods)]:
            self.simulated.server.delete(resource, one, PERSON, "Background", 0)

    def delete(self) -> None:
        self.simulated.delete(STUDY.metadata.uid)

    def requests(self) -> int:
        return self._requests


class LocalStage(ClusterStage):
    """This machine, with trainers that take naps."""

    namespace = "default"
    short_seconds = 5
    grace_seconds = 1
    rivals = False  # `comptroller run` locks its directory
    removable = False  # a run's directory is its record
    deletable = False  # `comptroller run` deletes no study
    pods = False
    stale = False
    failures = ("before",)

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.local = self._opened()
        self.cluster = self.local
        study, _ = yaml.safe_load_all(NAPS.read_text())
        one = admit(study).object
        assert isinstance(one, Study)
        self.local.objects.apply(one)

    def _opened(self) -> Local:
        cores = Machine.this().cores
        return Local(self._directory, command=TRAINER, machine=Machine(cores[:2], 2**30))

    def another(self) -> Cluster:
        return self._opened()

    def work(self, *, long: bool) -> tuple[dict[str, str], int]:
        return {"recipe.nap": "600" if long else "0.1"}, 1

    def trainers(self) -> int:
        return sum(log.read_text().count("cores") for log in self._directory.glob("runs/default/*/log"))

    async def turn(self) -> None:
        await asyncio.sleep(0.05)

    async def over(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not (self._directory / "runs" / "default" / name / "exit.json").exists():
            assert time.monotonic() < deadline, f"{name} still runs"
            await asyncio.sleep(0.05)

    @contextmanager
    def failing(self, failure: Failure) -> Iterator[None]:
        assert failure == "before"
        runs, kept = self._directory / "runs", self._directory / "kept"
        if runs.exists():
            runs.rename(kept)
        runs.write_text("not a directory")
        yield
        runs.unlink()
        if kept.exists():
            kept.rename(runs)

    def suspend(self) -> None:
        assert self.local.objects.suspend("default", "naps", suspended=True)

    async def close(self) -> None:
        """End what still runs."""
        for run in (await self.snapshot()).runs.values():
            await self.act(Stop(run.name, "Suspended", "the test is over"))
            await self.over(run.name)
        await self.local.close()
