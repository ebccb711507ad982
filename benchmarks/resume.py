"""Stop and resume at random steps, for each model family: are the weights those of an uninterrupted run?

Each family is trained once in one run, and once more through `--stops` real SIGTERMs at random steps, with
every attempt resuming from the previous one's checkpoint. The exported weights are then compared bit by bit,
on the CPU, with everything switched on that draws random numbers: dropout, augmentation, a new subset in each
epoch.

    python benchmarks/resume.py --log benchmarks/logs/resume.log
"""

import argparse
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import timm
import torch
from safetensors.torch import load_file, save_file

from comptroller_api.contract import Assignment, Report
from comptroller_trainer.errors import Suspended
from comptroller_trainer.meter import Meter
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.runtime.progress import AttemptProgress
from comptroller_trainer.runtime.stage_timer import StageTimer
from comptroller_trainer.runtime.stop import StopSignal
from comptroller_trainer.store import open_store
from comptroller_trainer.trial import TrialRunner

EPOCHS, BATCH = 6, 32
COMMON = {"recipe.batch_size": str(BATCH), "recipe.lr": "0.05", "data.selector": "rs2", "data.keep": "0.8"}
IMAGES = {"augment.policy": "flip_crop", "model.dropout": "0.2"}
ADAM = {"recipe.optimizer": "adamw", "recipe.lr": "0.001"}
FAMILIES: dict[str, dict[str, str]] = {
    "linear": {"recipe.optimizer": "adamw"},
    "mlp": {"model.width": "32", "model.dropout": "0.2", "recipe.ema": "0.9"},
    "cnn": IMAGES | {"model.width": "8"},
    "dscnn": IMAGES | {"model.width": "8", "recipe.optimizer": "adamw", "recipe.lr": "0.01"},
    "resnet": IMAGES | {"model.width": "8", "model.depth": "1"},
    "transformer": ADAM | {"model.width": "32", "model.depth": "2"},
    "gru": ADAM | {"model.width": "16"},
    "timm": ADAM | {"model.name": "test_resnet"},
    "timm adapters": ADAM | {"model.name": "test_vit", "model.tune": "adapters", "model.resolution": "32"},
}  # fmt: skip
SEQUENCES = {"gru"}


class Interrupting(AttemptProgress):
    """A heartbeat that sends this process SIGTERM during the step after `stop_at` steps."""

    stop_at: int | None = None

    def __setattr__(self, name: str, value: object) -> None:
        """Keep the value; at the chosen step, send the signal."""
        super().__setattr__(name, value)
        if name == "step" and value == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)


def attempt(
    parameters: dict[str, str], data: dict[str, Any], place: Path, number: int, stop_at: int | None
) -> Report:
    """Run one attempt in this process.

    Raises:
        Suspended: it was stopped.
    """
    assignment = Assignment.model_validate(
        {
            "study": "resume", "namespace": "benchmark", "trial": 0, "attempt": number, "seed": 7,
            "name": f"resume-0-{number}",
            "parameters": COMMON | parameters, "rung": 0, "epochs": EPOCHS, "totalEpochs": EPOCHS,
            "data": data, "artifacts": f"file://{place}", "leaseSeconds": 86_400, "graceSeconds": 60,
            "heartbeatPort": 0,
        }
    )  # fmt: skip
    meter = Meter(1.0)
    progress = Interrupting(assignment.name, time.monotonic(), assignment.lease_seconds, meter)
    progress.stop_at = stop_at
    stop = StopSignal()
    stop.listen()
    try:
        with tempfile.TemporaryDirectory() as directory:
            report = TrialRunner(
                assignment, parse(assignment.parameters), open_store(assignment.artifacts),
                StageTimer(progress, stop), 1, Path(directory),
            ).run()  # fmt: skip
    finally:
        meter.close()
    if report is None:
        raise RuntimeError("one process alone reports")
    return report


def weights(report: Report) -> dict[str, torch.Tensor]:
    """Return the weights that the report's trial exported."""
    (uri,) = [one.uri for one in report.artifacts if one.name == "model.safetensors"]
    return load_file(uri.removeprefix("file://"))


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> int:
    """Return the number of values that differ."""
    return sum(int((one[name] != other[name]).sum()) for name in one.keys() | other.keys())


def data_of(family: str, directory: Path) -> tuple[dict[str, Any], int]:
    """Write a small data set, and return the number of steps of all epochs."""
    if family in SEQUENCES:
        data: dict[str, Any] = {"uri": "generated:mnist1d", "format": "MNIST1D", "validation": "0.2"}
        count = 3200
    else:
        place = directory / "images"
        if not place.exists():
            place.mkdir()
            rng = np.random.default_rng(0)
            labels = np.arange(800) % 4
            images = rng.integers(0, 120, (800, 16, 16)).astype(np.uint8)
            for image, label in zip(images, labels, strict=True):
                image[label // 2 * 8 :, label % 2 * 8 :][:8, :8] += 60
            np.savez(place / "data.npz", x_train=images, y_train=labels)
        data = {"uri": f"file://{place}", "format": "NPZ", "validation": "0.2"}
        count = 640
    return data, EPOCHS * (round(0.8 * count) // BATCH)


def compare(family: str, stops: int, directory: Path, say: Callable[[str], None]) -> None:
    """Train twice, and return whether the weights agree."""
    data, steps = data_of(family, directory)
    parameters = {"model.family": family.partition(" ")[0]} | FAMILIES[family]
    if "model.tune" in parameters:
        pretrained = directory / "vit.safetensors"
        save_file(timm.create_model("test_vit", num_classes=4, img_size=32).state_dict(), pretrained)
        parameters["model.weights"] = pretrained.as_uri()
    began = time.monotonic()
    whole = weights(attempt(parameters, data, directory / family / "whole", 0, None))
    at = sorted(random.Random(family).sample(range(1, steps), stops))
    for number, stop_at in enumerate(at):
        try:
            attempt(parameters, data, directory / family / "parts", number, stop_at)
        except Suspended:
            continue
        raise AssertionError(f"{family} was not stopped at step {stop_at}")
    parts = weights(attempt(parameters, data, directory / family / "parts", stops, None))
    numbers = sum(tensor.numel() for tensor in whole.values())
    say(
        f"{family:14} {stops:5} stops in {steps} steps, at {' '.join(map(str, at))}:"
        f" {differing(whole, parts)} of {numbers} numbers differ ({time.monotonic() - began:.0f} s)"
    )


def main() -> None:
    """Yield a line for each family."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    torch.set_num_threads(1)
    lines = [f"torch {torch.__version__}, CPU, one thread"]

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    with tempfile.TemporaryDirectory() as directory:
        for family in given.families:
            compare(family, given.stops, Path(directory), say)
    if given.log:
        given.log.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
