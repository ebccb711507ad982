"""Measure the exported artifact as it would be served."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comptroller_api.study import Latency
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.measure.latency import ENOUGH, ServingLaunch, agreeing, summarize
from comptroller_trainer.measure.pace import Fastest
from comptroller_trainer.measure.pace import fastest as fastest_of
from comptroller_trainer.measure.quality import quality
from comptroller_trainer.measure.session import open_session, provider_of
from comptroller_trainer.stages.base import Context

Infer = Callable[[Tensor], NDArray[np.float32]]
_BATCH = 256
_MOST = 8
"""Launches at most, even if too few agree."""
_TOO_LONG = 8.0
"""Seconds after which no further launch begins."""


def opened(graph: Path, device: str, threads: int) -> Infer:
    """Return the artifact on `device` as a function from stored inputs (n, *shape) to outputs (n, outputs).

    Args:
        graph: the ONNX file.
        device: to serve with, "CPU" or "CUDA".
        threads: for the quality, which is not timed.

    Raises:
        AssignmentError: the declared device is not here.
    """
    with _device(device):
        session = open_session(graph, device, threads)
    name = session.get_inputs()[0].name

    def infer(inputs: Tensor) -> NDArray[np.float32]:
        parts = torch.split(inputs, _BATCH)
        return np.concatenate([session.run(None, {name: part.float().cpu().numpy()})[0] for part in parts])

    return infer


def servable(device: str) -> None:
    """Refuse a declared device that is not here, before anything is spent.

    Raises:
        AssignmentError: the device is not here.
    """
    with _device(device):
        provider_of(device)


@contextmanager
def _device(device: str) -> Iterator[None]:
    try:
        yield
    except LookupError as error:
        raise AssignmentError("latency.device", device, f"cannot be measured: {error}") from error


def measure(
    graph: Path, outputs: NDArray[np.float32], validation: Samples, latency: Latency, context: Context,
    fastest: Fastest,
) -> dict[str, float]:  # fmt: skip
    """Return every metric of the artifact, on the validation split and the declared device (P8, P9).

    Args:
        graph: the ONNX file.
        outputs: the artifact's outputs for the validation split.
        validation: the validation split.
        latency: device, batch and threads to serve with.
        context: the trial.
        fastest: the machine's pace.
    """
    metrics = quality(outputs, validation.labels.cpu().numpy())
    metrics["artifact_bytes"] = float(graph.stat().st_size)
    return metrics | served(graph, validation, latency, context, fastest)


def served(
    graph: Path, validation: Samples, latency: Latency, context: Context, fastest: Fastest
) -> dict[str, float]:
    """Return the latency and memory of serving, in processes that do nothing else, one after another.

    Processes are launched until enough agree, since memory layout and moment of each are chance.
    """
    batch: NDArray[np.float32] = validation.inputs[: latency.batch].float().cpu().numpy()
    inputs = context.directory / "inputs.npy"
    np.save(inputs, np.resize(batch, (latency.batch, *context.shape)), allow_pickle=False)
    launches: list[ServingLaunch] = []
    until = time.monotonic() + _TOO_LONG
    while len(launches) < ENOUGH or (
        len(agreeing(launches, fastest.seconds)) < ENOUGH
        and len(launches) < _MOST
        and time.monotonic() < until
    ):
        launches.append(_launch(graph, inputs, latency))
        fastest.saw(fastest_of(launches[-1].paces.tolist()))
    return summarize(launches, fastest.seconds)


def _launch(graph: Path, inputs: Path, latency: Latency) -> ServingLaunch:
    found = inputs.with_name("served.npz")
    command = [sys.executable, "-m", "comptroller_trainer.measure.serve"]
    arguments = [str(graph), str(inputs), latency.device, str(latency.threads), str(found)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - our own
    if done.returncode:
        raise RuntimeError(f"serving the artifact failed: {done.stderr.strip()[-300:]}")
    with np.load(found, allow_pickle=False) as held:
        arrays = {name: held[name] for name in ServingLaunch._fields}
    return ServingLaunch(**arrays | {name: float(arrays[name]) for name in ("cold", "peak")})
