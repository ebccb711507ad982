"""Assignments over a tiny data set, and attempts that run in this process."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from comptroller_api.contract import Assignment, Report
from comptroller_trainer import trial
from comptroller_trainer.measure import artifact
from comptroller_trainer.meter import Meter
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.runtime.progress import AttemptProgress
from comptroller_trainer.runtime.stage_timer import StageTimer
from comptroller_trainer.runtime.stop import StopSignal
from comptroller_trainer.store import open_store
from comptroller_trainer.trial import TrialRunner
from support import trials
from support.trials import StopAfter, corner_images, idx, latency


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def unserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency takes four to nine seconds, and is not what most promises are about."""
    for module in (artifact, trial):
        monkeypatch.setattr(module, "served", lambda *_: latency(1.0))


@pytest.fixture
def idx_directory(tmp_path: Path) -> Path:
    """The training files alone; a test split that cannot be read lies next to them."""
    directory = tmp_path / "idx"
    directory.mkdir()
    images, labels = corner_images()
    (directory / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images), 1))
    (directory / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    (directory / "t10k-images-idx3-ubyte.gz").mkdir()
    return directory


@pytest.fixture
def described(tmp_path: Path, idx_directory: Path) -> Callable[..., dict[str, Any]]:
    """An assignment's JSON; keyword arguments change it."""

    def make(parameters: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
        return {
            "study": "study", "namespace": "team", "trial": 3, "attempt": 0, "name": "study-3-0", "seed": 11,
            "parameters": trials.SMALL | (parameters or {}),
            "rung": 0, "epochs": 2, "totalEpochs": 2,
            "data": {"uri": f"file://{idx_directory}", "format": "IDX", "validation": "0.2"},
            "artifacts": f"file://{tmp_path}/artifacts",
            "leaseSeconds": 300, "graceSeconds": 20, "heartbeatPort": 0,
        } | changes  # fmt: skip

    return make


@pytest.fixture
def progress() -> Iterator[AttemptProgress]:
    meter = Meter(1.0)
    yield AttemptProgress("study-3-0", 0.0, 300, meter)
    meter.close()


@pytest.fixture
def attempt(
    described: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Report]:
    """Runs one attempt here; `stop_after` steps SIGTERM comes."""

    def run(
        parameters: dict[str, str] | None = None, stop_after: int | None = None, stop_in: str | None = None,
        **changes: Any,
    ) -> Report:  # fmt: skip
        assignment = Assignment.model_validate(described(parameters, **changes))
        meter = Meter(1.0)
        progress = AttemptProgress(assignment.name, 0.0, assignment.lease_seconds, meter)
        stop = StopSignal() if stop_after is None else StopAfter(progress, stop_after, stop_in)
        parsed = parse(assignment.parameters)
        store = open_store(assignment.artifacts)
        directory = tmp_path_factory.mktemp("scratch")
        try:
            report = TrialRunner(assignment, parsed, store, StageTimer(progress, stop), 1, directory).run()
        finally:
            meter.close()
        assert report is not None
        return report

    return run


@pytest.fixture
def weights() -> Callable[[Report], dict[str, torch.Tensor]]:
    """The weights that an attempt left."""

    def read(report: Report) -> dict[str, torch.Tensor]:
        (artifact,) = [a for a in report.artifacts if a.name == "model.safetensors"]
        return load_file(artifact.uri.removeprefix("file://"))

    return read


@pytest.fixture
def as_env(described: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Environment of a trainer process."""

    def make(parameters: dict[str, str] | None = None, **changes: Any) -> dict[str, str]:
        return dict(os.environ) | {
            "COMPTROLLER_ASSIGNMENT": json.dumps(described(parameters, **changes)),
            "COMPTROLLER_TERMINATION_LOG": str(tmp_path / "termination-log"),
            "COMPTROLLER_GRANT_FILE": str(tmp_path / "grant"),
            "COMPTROLLER_HEARTBEAT_PORT_FILE": str(tmp_path / "port"),
            "COMPTROLLER_CPUS": "1",
        }

    return make
