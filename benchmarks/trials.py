"""Trials for benchmarks: each runs in a trainer process, as in a pod, and its artifact is tested."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from comptroller_api.contract import ASSIGNMENT_ENV, Report, report_key


def run(
    parameters: Mapping[str, str], data: Mapping[str, Any], epochs: int, seed: int, directory: Path,
    attempt: int = 0,
) -> Report:  # fmt: skip
    """Run a complete trial of `epochs` in one rung; artifacts and report stay in `directory`.

    Another attempt in the same directory resumes from the previous one's checkpoint.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    assignment = {
        "study": "benchmark", "namespace": "benchmark", "trial": 0, "attempt": attempt,
        "name": "benchmark-0-0", "seed": seed,
        "parameters": dict(parameters), "rung": 0, "epochs": epochs, "totalEpochs": epochs,
        "data": dict(data), "artifacts": f"file://{directory}", "leaseSeconds": 86_400, "graceSeconds": 60,
        "heartbeatPort": 0,
    }  # fmt: skip
    environment = os.environ | {
        ASSIGNMENT_ENV: json.dumps(assignment),
        "COMPTROLLER_TERMINATION_LOG": str(directory / "termination-log"),
        "COMPTROLLER_GRANT_FILE": str(directory / "grant"),
        "COMPTROLLER_HEARTBEAT_PORT_FILE": str(directory / "port"),
    }
    with (directory / "log").open("w") as log:
        command = [sys.executable, "-m", "comptroller_trainer"]
        done = subprocess.run(command, env=environment, stdout=log, stderr=log, check=False)
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {(directory / 'log').read_text()[-2000:]}")
    return Report.model_validate_json((directory / report_key(attempt)).read_bytes())


def test_accuracy(report: Report, inputs: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return the accuracy of the trial's ONNX file on a test split that no trial reads, 0 to 1."""
    (uri,) = [a.uri for a in report.artifacts if a.name == "model.onnx"]
    session = onnxruntime.InferenceSession(uri.removeprefix("file://"), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    parts = np.array_split(inputs, max(1, len(inputs) // 500))
    predicted = np.concatenate([session.run(None, {name: part})[0].argmax(1) for part in parts])
    return float((predicted == labels).mean())


def mean_and_spread(values: list[float]) -> str:
    """Return mean and sample standard deviation, in percent."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):5.1f} ± {100 * spread:.1f}"


def tell(lines: Iterable[str], log: Path | None) -> None:
    """Print each line as it comes, and write it to `log`, which is overwritten."""
    with log.open("w", encoding="utf-8") if log else nullcontext() as file:
        for line in lines:
            print(line, flush=True)
            if file:
                file.write(line + "\n")
                file.flush()
