"""The exported artifact, measured as it would be served."""

import json
import subprocess
import sys
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
from comptroller_trainer.measure.quality import quality
from comptroller_trainer.measure.session import open_session, provider_of
from comptroller_trainer.stages import Context

Infer = Callable[[Tensor], NDArray[np.float32]]
_BATCH = 256
_SERVED = (
    "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "latency_p95_low_ms", "latency_p95_high_ms",
    "latency_trusted", "cold_start_ms", "peak_memory_bytes",
)  # fmt: skip


def opened(graph: Path, device: str, threads: int) -> Infer:
    """The artifact on `device`: from stored inputs (n, *shape) to outputs (n, outputs).

    Args:
        graph: the ONNX file.
        device: to serve with, "CPU" or "CUDA".
        threads: for judging quality, which is not timed.

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
        AssignmentError: it is not.
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
    graph: Path, outputs: NDArray[np.float32], validation: Samples, latency: Latency, context: Context
) -> dict[str, float]:
    """Every metric of the artifact, on the validation split and the declared device (P8, P9).

    Args:
        graph: the ONNX file.
        outputs: its own, of the validation split.
        validation: the split to judge it by.
        latency: device, batch and threads to serve with.
        context: the trial.
    """
    metrics = quality(outputs, validation.labels.cpu().numpy())
    metrics["artifact_bytes"] = float(graph.stat().st_size)
    return metrics | served(graph, validation, latency, context)


def served(graph: Path, validation: Samples, latency: Latency, context: Context) -> dict[str, float]:
    """What serving the artifact takes, in a process that does nothing else."""
    found = _serve(graph, validation, latency, context)
    return {key: float(found[key]) for key in _SERVED if key in found}


def _serve(graph: Path, validation: Samples, latency: Latency, context: Context) -> dict[str, float]:
    batch: NDArray[np.float32] = validation.inputs[: latency.batch].float().cpu().numpy()
    inputs = context.directory / "inputs.npy"
    np.save(inputs, np.resize(batch, (latency.batch, *context.shape)), allow_pickle=False)
    command = [sys.executable, "-m", "comptroller_trainer.measure.serve"]
    arguments = [str(graph), str(inputs), latency.device, str(latency.threads)]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"serving the artifact failed: {done.stderr.strip()[-300:]}")
    served: dict[str, float] = json.loads(done.stdout)
    return served
