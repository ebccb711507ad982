"""A tiny data set, and parts of the trials over it."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from comptroller_api.contract import Report
from comptroller_api.data import Data
from comptroller_trainer.measure.latency import ServingLaunch, summarize
from comptroller_trainer.runtime.progress import AttemptProgress
from comptroller_trainer.runtime.stop import StopSignal

CLASSES, SIDE, SAMPLES = 4, 12, 480
SMALL = {"model.width": "4", "model.depth": "2", "recipe.batch_size": "32"}


def idx(array: np.ndarray) -> bytes:
    """`array` as an IDX file."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def corner_images() -> tuple[np.ndarray, np.ndarray]:
    """Noise with one bright corner; the label is which corner."""
    rng = np.random.default_rng(0)
    labels = np.arange(SAMPLES, dtype=np.uint8) % CLASSES
    images = rng.integers(0, 120, (SAMPLES, SIDE, SIDE)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[row * 6 : row * 6 + 6, column * 6 : column * 6 + 6] += 60
    return images, labels


class StopAfter(StopSignal):
    """SIGTERM that comes during the step after which `step` are behind, of one stage if it is named."""

    def __init__(self, progress: AttemptProgress, step: int, stage: str | None = None) -> None:
        self._progress, self._step, self._stage = progress, step, stage
        super().__init__()

    @property
    def requested(self) -> bool:
        here = self._stage is None or self._progress.phase == self._stage
        return here and self._progress.step >= self._step

    @requested.setter
    def requested(self, value: bool) -> None:
        del value


def npz(directory: Path, **arrays: Any) -> Data:
    """Write a small table of two classes, with `arrays` in the place of its own."""
    directory.mkdir()
    good = {"x_train": np.random.default_rng(0).random((40, 5)), "y_train": np.arange(40) % 2}
    np.savez(directory / "data.npz", **(good | arrays))
    return Data(uri=f"file://{directory}", format="NPZ", validation="0.25")


def latency(milliseconds: float) -> dict[str, float]:
    """Return the latency metrics of an artifact whose calls all take as long."""
    calls = np.full(20, milliseconds / 1000)
    launch = ServingLaunch(calls, np.zeros(20, np.int64), np.ones(2), np.zeros(1), 1.0, 1.0)
    return summarize([launch] * 3, 1.0)


def path(report: Report, name: str) -> Path:
    """Return the path of the artifact of that name."""
    (uri,) = [one.uri for one in report.artifacts if one.name == name]
    return Path(uri.removeprefix("file://"))
