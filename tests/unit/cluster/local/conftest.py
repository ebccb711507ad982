import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from comptroller.actions import Launch
from comptroller.admission import admit
from comptroller.cluster.local import Local, Machine
from comptroller.world import Run, trial_prefix
from comptroller_api.contract import Assignment
from comptroller_api.meta import Metadata
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study
from comptroller_api.trial import Proposal, Trial, TrialSpec

HERE = Path(__file__).parent
TRAINER = (sys.executable, str(HERE / "fake_trainer.py"))
PATIENCE = 60.0


class Bench:
    """A `Local` with one study, and shortcuts for its actions and observations."""

    def __init__(self, directory: Path, machine: Machine) -> None:
        self.directory, self.machine = directory, machine
        self.local = self.reopened()
        study, prices = yaml.safe_load_all((HERE.parents[1] / "cli" / "naps.yaml").read_text())
        self.study = self._applied(study)
        self._applied(prices)

    def reopened(self) -> Local:
        """Start a new process on the same directory, as after a crash."""
        self.local = Local(self.directory, command=TRAINER, machine=self.machine)
        return self.local

    def _applied(self, manifest: dict[str, Any]) -> Study:
        one = admit(manifest).object
        assert isinstance(one, Study | PriceList)
        self.local.objects.apply(one)
        found = self.local.objects.study("default", "naps")
        assert found is not None
        return found

    def launch(self, number: int = 0, lease: int = 30, attempt: int = 0, **parameters: str) -> Launch:
        values = {name.replace("_", ".", 1): value for name, value in parameters.items()}
        trial = Trial(
            metadata=Metadata(name=f"naps-{number:04d}"),
            spec=TrialSpec(
                study="naps", study_uid=self.study.metadata.uid, number=number, seed=0, parameters=values,
                proposal=Proposal(phase="Search", engine="TPE"),
            ),
        )  # fmt: skip
        study = self.local._placed(self.study)
        assignment = Assignment(
            study="naps", namespace="default", trial=number, attempt=attempt,
            name=f"naps-{number:04d}-{attempt}", seed=0, parameters=values, rung=0, epochs=1,
            total_epochs=3, data=study.spec.data, artifacts=trial_prefix(study, number), lease_seconds=lease,
            grace_seconds=1,
        )  # fmt: skip
        return Launch(study, trial, assignment, "", study.spec.runtime.resources, {})

    async def see(self, name: str) -> Run:
        found = await self.look(name)
        assert found is not None, f"{name} is not there"
        return found

    async def look(self, name: str) -> Run | None:
        snapshot = await self.local.observe("default")
        return next((run for run in snapshot.runs.values() if run.name == name), None)

    async def until(self, name: str, holds: Callable[[Run], bool]) -> Run:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            run = await self.look(name)
            if run is not None and holds(run):
                return run
            await asyncio.sleep(0.05)
        raise AssertionError(f"{name} is {await self.look(name)}")

    def log(self, name: str) -> str:
        log = self.directory / "runs" / "default" / name / "log"
        return log.read_text() if log.exists() else ""

    async def started(self, name: str) -> Run:
        """Wait until the trainer itself runs."""
        return await self.until(name, lambda _: "cores" in self.log(name))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    cores = Machine.this().cores
    return Bench(tmp_path, Machine(cores[:2], 2**30))
