"""Check export parity of every family with every allowed compressor, by complete tiny trials.

Each trial trains one epoch on a few hundred samples of noise, is compressed, and exported. `parity` is the
greatest difference between the exported graph and its module, as a share of the largest output; the trainer
refuses 1e-3. `int8` is the difference between the int8 graph and that graph, which is the effect of
quantization and has no limit.

    python benchmarks/parity.py --log benchmarks/logs/parity.log
"""

import argparse
import logging
import os
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import structlog
import torch
from pyarrow import parquet
from torch import Tensor, nn

from comptroller_api.contract import Assignment
from comptroller_api.data import Task
from comptroller_api.trainer import KINDS, Kind, Picked, contradictions, reference, split
from comptroller_trainer import trial
from comptroller_trainer.export.onnx import INPUT, check_parity
from comptroller_trainer.measure import artifact
from comptroller_trainer.measure.session import open_session
from comptroller_trainer.meter import Meter
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.runtime.progress import AttemptProgress
from comptroller_trainer.runtime.stage_timer import StageTimer
from comptroller_trainer.runtime.stop import StopSignal
from comptroller_trainer.store import open_store
from comptroller_trainer.testing.models import left
from comptroller_trainer.trial import TrialRunner

METHODS = [
    *(name for name, one in reference().compress.items() if not one.wants),
    "prune+tune",
    "prune+kd",
    "prune+int8_static",
    "prune+kd+int8_static",
    "low_rank+tune",
    "sparse+tune",
    "qat+int8_static",
    "kd+int8_dynamic",
]
SHAPES: dict[Kind, tuple[int, ...]] = {"tables": (6,), "sequences": (24,), "images": (12, 12)}
TASKS: tuple[Task, ...] = ("Classification", "Regression")
SAMPLES = 320
SMALL = {
    "cnn": {"model.width": "8", "model.depth": "2"}, "dscnn": {"model.width": "8", "model.depth": "2"},
    "ensemble": {}, "gru": {"model.width": "8"}, "linear": {}, "mlp": {"model.width": "16"},
    "resnet": {"model.width": "8", "model.depth": "1", "model.stages": "2"},
    "timm": {"model.name": "resnet10t"},
    "transformer": {"model.width": "16", "model.depth": "1"}, "trees": {"model.rounds": "5"},
}  # fmt: skip


class Case(NamedTuple):
    """One trial of the table."""

    family: str
    method: str
    kind: Kind
    task: Task

    def refused(self) -> bool:
        """Return whether the trainer's description refuses the combination."""
        compressors = tuple(reference().compress[name] for name in split("compress", self.method))
        picked = [
            Picked("model.family", self.family, (reference().model[self.family],)),
            Picked("compress.method", self.method, compressors),
        ]
        return any(contradictions(picked, self.task, self.kind))


def written(kind: Kind, task: Task, directory: Path) -> dict[str, str]:
    """Write a data set as a study names it: noise, with labels by its mean."""
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(SAMPLES, *SHAPES[kind])).astype(np.float32)
    means = inputs.reshape(SAMPLES, -1).mean(1)
    labels = np.digitize(means, np.quantile(means, [1 / 3, 2 / 3])) if task == "Classification" else means
    directory.mkdir(parents=True)
    if kind == "sequences":
        rows = {"steps": list(inputs), "label": labels}
        parquet.write_table(pa.table(rows), directory / "train.parquet")
    else:
        np.savez(directory / "data.npz", x_train=inputs, y_train=labels)
    stored = "Parquet" if kind == "sequences" else "NPZ"
    return {"uri": directory.as_uri(), "format": stored, "task": task, "validation": "0.2"}


def differences(case: Case, data: dict[str, str], directory: Path) -> tuple[float, float | None]:
    """Return the relative distances exported graph to module, and shipped graph to exported graph."""
    parameters = SMALL[case.family] | {
        "model.family": case.family, "compress.method": case.method, "recipe.batch_size": "32",
        "recipe.lr": "0.02",
    }  # fmt: skip
    if case.family == "ensemble":
        shape = SHAPES[case.kind] if case.kind == "tables" else (1, *SHAPES[case.kind])
        parameters |= left(directory / "members", shape, 3 if case.task == "Classification" else 0)
    if case.method != "none":
        parameters["compress.must"] = "anything"
    if {"kd", "tune"} & set(split("compress", case.method)):
        parameters["compress.tune_epochs"] = "1"
    assignment = Assignment.model_validate(
        {
            "study": "parity", "namespace": "parity", "trial": 0, "attempt": 0, "name": "parity-0-0",
            "seed": 0,
            "parameters": parameters, "rung": 0, "epochs": 1, "totalEpochs": 1,
            "data": data, "artifacts": f"file://{directory}/artifacts",
            "leaseSeconds": 3600, "graceSeconds": 20, "heartbeatPort": 0,
        }
    )  # fmt: skip
    seen: list[tuple[Path, np.ndarray, np.ndarray]] = []

    def recorded(model: nn.Module, graph: Path, samples: Tensor) -> None:
        check_parity(model, graph, samples)
        with torch.no_grad():
            seen.append((graph, samples.float().numpy(), model(samples.float()).numpy()))

    meter = Meter(1.0)
    try:
        progress = AttemptProgress(assignment.name, 0.0, assignment.lease_seconds, meter)
        (directory / "scratch").mkdir(parents=True)
        store = open_store(assignment.artifacts)
        with patch.object(trial, "check_parity", recorded):
            report = TrialRunner(
                assignment,
                parse(parameters),
                store,
                StageTimer(progress, StopSignal()),
                1,
                directory / "scratch",
            ).run()
    finally:
        meter.close()
    ((graph, inputs, expected),) = seen
    exported = _outputs(graph, inputs)
    if report is None or "int8" not in case.method:
        return _share(exported, expected), None
    (uri,) = [one.uri for one in report.artifacts if one.name == "model.onnx"]
    return _share(exported, expected), _share(_outputs(Path(uri.removeprefix("file://")), inputs), exported)


def _outputs(graph: Path, inputs: np.ndarray) -> np.ndarray:
    (found,) = open_session(graph, "CPU", 1).run(None, {INPUT: inputs})
    return np.asarray(found)


def _share(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))


def rows(directory: Path, tasks: Sequence[Task]) -> Iterator[str]:
    """Yield the table, a line for each trial, and the worst of all."""
    yield f"{'family':12} {'method':22} {'samples':10} {'task':15} {'parity':>9} {'int8':>9}"
    worst, ran, refused = 0.0, 0, 0
    data = {pair: written(*pair, directory / "-".join(pair)) for pair in product(KINDS, tasks)}
    cases = [Case(*pair) for pair in product(reference().model, METHODS, KINDS, tasks)]
    for number, case in enumerate(cases):
        if case.refused():
            refused += 1
            continue
        parity, int8 = differences(case, data[case.kind, case.task], directory / str(number))
        ran, worst = ran + 1, max(worst, parity)
        shown = "" if int8 is None else f"{int8:9.2g}"
        yield f"{case.family:12} {case.method:22} {case.kind:10} {case.task:15} {parity:9.2g} {shown:>9}"
    yield f"{ran} trials, {refused} pairs refused before one; worst parity {worst:.2g}"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    torch.set_num_threads(1)
    # Latency takes seconds of each trial, and this benchmark does not need it.
    artifact.served = lambda *_: {"latency_p50_ms": 1.0}
    lines = [f"torch {torch.__version__}, {len(KINDS)} kinds of samples, {os.cpu_count()} cores"]
    with tempfile.TemporaryDirectory() as directory:
        for line in rows(Path(directory), given.tasks):
            lines.append(line)
            print(line, flush=True)
    if given.log:
        given.log.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
