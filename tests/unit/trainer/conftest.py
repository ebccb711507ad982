"""A tiny data set, assignments over it, and attempts that run in this process."""

import gzip
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comptroller_api.contract import Assignment, Report
from comptroller_trainer import trial
from comptroller_trainer.measure import artifact
from comptroller_trainer.measure.latency import Launch, told
from comptroller_trainer.meter import Meter
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.runtime.progress import Progress
from comptroller_trainer.runtime.stage_timer import Line
from comptroller_trainer.runtime.stop import Stop
from comptroller_trainer.store import open_store
from comptroller_trainer.trial import Trial

CLASSES, SIDE, SAMPLES = 4, 12, 480
SMALL = {"model.width": "4", "model.depth": "2", "recipe.batch_size": "32"}


def idx(array: np.ndarray) -> bytes:
    """`array` as an IDX file."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Noise with one bright corner; the label is which corner."""
    rng = np.random.default_rng(0)
    labels = np.arange(SAMPLES, dtype=np.uint8) % CLASSES
    images = rng.integers(0, 120, (SAMPLES, SIDE, SIDE)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[row * 6 : row * 6 + 6, column * 6 : column * 6 + 6] += 60
    return images, labels


class StopAfter(Stop):
    """SIGTERM that comes during the step after which `step` are behind, of one stage if it is named."""

    def __init__(self, progress: Progress, step: int, stage: str | None = None) -> None:
        self._progress, self._step, self._stage = progress, step, stage
        super().__init__()

    @property
    def requested(self) -> bool:
        here = self._stage is None or self._progress.phase == self._stage
        return here and self._progress.step >= self._step

    @requested.setter
    def requested(self, value: bool) -> None:
        del value


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def unserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency takes four to nine seconds, and is not what most promises are about."""
    for module in (artifact, trial):
        monkeypatch.setattr(module, "served", lambda *_: latency(1.0))


def latency(milliseconds: float) -> dict[str, float]:
    """What is told of an artifact whose calls all take as long."""
    calls = np.full(20, milliseconds / 1000)
    launch = Launch(calls, np.zeros(20, np.int64), np.ones(2), np.zeros(1), 1.0, 1.0)
    return told([launch] * 3, 1.0)


def path(report: Report, name: str) -> Path:
    """Where the artifact of that name is."""
    (uri,) = [one.uri for one in report.artifacts if one.name == name]
    return Path(uri.removeprefix("file://"))


@pytest.fixture
def idx_directory(tmp_path: Path) -> Path:
    """The training files alone; a test split that cannot be read lies beside them."""
    directory = tmp_path / "idx"
    directory.mkdir()
    images, labels = pictures()
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
            "parameters": SMALL | (parameters or {}),
            "rung": 0, "epochs": 2, "totalEpochs": 2,
            "data": {"uri": f"file://{idx_directory}", "format": "IDX", "validation": "0.2"},
            "artifacts": f"file://{tmp_path}/artifacts",
            "leaseSeconds": 300, "graceSeconds": 20, "heartbeatPort": 0,
        } | changes  # fmt: skip

    return make


@pytest.fixture
def progress() -> Iterator[Progress]:
    meter = Meter(1.0)
    yield Progress("study-3-0", 0.0, 300, meter)
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
        progress = Progress(assignment.name, 0.0, assignment.lease_seconds, meter)
        stop = Stop() if stop_after is None else StopAfter(progress, stop_after, stop_in)
        parsed = parse(assignment.parameters)
        store = open_store(assignment.artifacts)
        directory = tmp_path_factory.mktemp("scratch")
        try:
            report = Trial(assignment, parsed, store, Line(progress, stop), 1, directory).run()
        finally:
            meter.close()
        assert report is not None
        return report

    return run


@pytest.fixture
def weights() -> Callable[[Report], dict[str, torch.Tensor]]:
    """The weights that an attempt left."""

    def read(report: Report) -> dict[str, torch.Tensor]:
        from safetensors.torch import load_file  # noqa: PLC0415

        (artifact,) = [a for a in report.artifacts if a.name == "model.safetensors"]
        return load_file(artifact.uri.removeprefix("file://"))

    return read


@pytest.fixture
def as_env(described: Callable[..., dict[str, Any]], tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Environment of a trainer process."""

    def make(parameters: dict[str, str] | None = None, **changes: Any) -> dict[str, str]:
        import os  # noqa: PLC0415

        return dict(os.environ) | {
            "COMPTROLLER_ASSIGNMENT": json.dumps(described(parameters, **changes)),
            "COMPTROLLER_TERMINATION_LOG": str(tmp_path / "termination-log"),
            "COMPTROLLER_GRANT_FILE": str(tmp_path / "grant"),
            "COMPTROLLER_HEARTBEAT_PORT_FILE": str(tmp_path / "port"),
            "COMPTROLLER_CPUS": "1",
        }

    return make
