"""Export parity of every family with every compressor that is allowed, by whole tiny trials.

Each trial trains one epoch on a data set that needs no files, is compressed, and exported. `parity` is the
greatest difference between the exported graph and the module it was made from, as a share of the largest
output: the trainer refuses 1e-3. `int8` is how far int8 numbers are from that graph's, which
is what quantization does and has no limit.

    python benchmarks/parity.py --log benchmarks/logs/parity.log
"""

import argparse
import logging
import os
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import structlog
import torch
from torch import Tensor, nn

from comptroller_api.contract import Assignment
from comptroller_api.trainer import KINDS, Kind, Picked, Task, contradictions, reference, split
from comptroller_trainer import export, recipe
from comptroller_trainer.line import Line
from comptroller_trainer.measure import artifact
from comptroller_trainer.measure.session import open_session
from comptroller_trainer.meter import Meter
from comptroller_trainer.progress import Progress
from comptroller_trainer.stop import Stop
from comptroller_trainer.store import open_store
from comptroller_trainer.trial import Trial

METHODS = [
    *reference().compress,
    "prune+tune",
    "prune+kd",
    "prune+int8_static",
    "prune+kd+int8_static",
    "kd+int8_dynamic",
]
DATA: dict[tuple[Kind, Task], dict[str, str]] = {
    ("tables", "Classification"): {"uri": "generated:breast_cancer", "format": "Bundled"},
    ("tables", "Regression"): {"uri": "generated:diabetes", "format": "Bundled", "task": "Regression"},
    ("sequences", "Classification"): {"uri": "generated:mnist1d", "format": "MNIST1D", "validation": "0.8"},
    ("images", "Classification"): {"uri": "generated:digits", "format": "Bundled", "validation": "0.5"},
}
SMALL = {
    "cnn": {"model.width": "8", "model.depth": "2"}, "dscnn": {"model.width": "8", "model.depth": "2"},
    "gru": {"model.width": "8"}, "linear": {}, "mlp": {"model.width": "16"},
    "resnet": {"model.width": "8", "model.depth": "1", "model.stages": "2"},
    "timm": {"model.name": "resnet10t"},
    "transformer": {"model.width": "16", "model.depth": "1"}, "trees": {"model.rounds": "5"},
}  # fmt: skip


class Case(NamedTuple):
    """One trial."""

    family: str
    method: str
    kind: Kind
    task: Task

    def refused(self) -> bool:
        """Whether the description says that it makes no sense."""
        compressors = tuple(reference().compress[name] for name in split("compress", self.method))
        picked = [
            Picked("model.family", self.family, (reference().model[self.family],)),
            Picked("compress.method", self.method, compressors),
        ]
        return any(contradictions(picked, self.task, self.kind))


def differences(case: Case, directory: Path) -> tuple[float, float | None]:
    """Of the exported graph from its module, and of the shipped one from the exported, as shares."""
    parameters = SMALL[case.family] | {
        "model.family": case.family, "compress.method": case.method, "recipe.batch_size": "32",
        "recipe.lr": "0.02",
    }  # fmt: skip
    if case.method != "none":
        parameters["compress.must"] = "anything"
    if {"kd", "tune"} & set(split("compress", case.method)):
        parameters["compress.tune_epochs"] = "1"
    assignment = Assignment.model_validate(
        {
            "study": "parity", "namespace": "parity", "trial": 0, "attempt": 0, "name": "parity-0-0",
            "seed": 0,
            "parameters": parameters, "rung": 0, "epochs": 1, "totalEpochs": 1,
            "data": DATA[case.kind, case.task], "artifacts": f"file://{directory}/artifacts",
            "leaseSeconds": 3600, "graceSeconds": 20, "heartbeatPort": 0,
        }
    )  # fmt: skip
    seen: list[tuple[Path, np.ndarray, np.ndarray]] = []
    own = export.check_parity

    def recorded(model: nn.Module, graph: Path, samples: Tensor) -> None:
        own(model, graph, samples)
        with torch.no_grad():
            seen.append((graph, samples.float().numpy(), model(samples.float()).numpy()))

    export.check_parity = recorded
    meter = Meter(1.0)
    try:
        progress = Progress(assignment.name, 0.0, assignment.lease_seconds, meter)
        (directory / "scratch").mkdir(parents=True)
        store = open_store(assignment.artifacts)
        report = Trial(
            assignment, recipe.parse(parameters), store, Line(progress, Stop()), 1, directory / "scratch"
        ).run()
    finally:
        export.check_parity = own
        meter.close()
    ((graph, inputs, expected),) = seen
    exported = _outputs(graph, inputs)
    if report is None or "int8" not in case.method:
        return _share(exported, expected), None
    (uri,) = [one.uri for one in report.artifacts if one.name == "model.onnx"]
    return _share(exported, expected), _share(_outputs(Path(uri.removeprefix("file://")), inputs), exported)


def _outputs(graph: Path, inputs: np.ndarray) -> np.ndarray:
    (found,) = open_session(graph, "CPU", 1).run(None, {export.INPUT: inputs})
    return np.asarray(found)


def _share(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max()) / max(1.0, float(np.abs(expected).max()))


def rows(directory: Path) -> Iterator[str]:
    """The table, a line a trial, and the worst of all."""
    yield f"{'family':12} {'method':22} {'samples':10} {'task':15} {'parity':>9} {'int8':>9}"
    worst, ran, refused = 0.0, 0, 0
    for number, (family, method, (kind, task)) in enumerate(product(reference().model, METHODS, DATA)):
        case = Case(family, method, kind, task)
        if case.refused():
            refused += 1
            continue
        parity, int8 = differences(case, directory / str(number))
        ran, worst = ran + 1, max(worst, parity)
        shown = "" if int8 is None else f"{int8:9.2g}"
        yield f"{family:12} {method:22} {kind:10} {task:15} {parity:9.2g} {shown:>9}"
    yield f"{ran} trials, {refused} pairs refused before one; worst parity {worst:.2g}"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    torch.set_num_threads(1)
    # Latency takes seconds of each trial, and is not what this is about.
    artifact._serve = lambda *_: dict.fromkeys(artifact._SERVED, 1.0)  # noqa: SLF001
    lines = [f"torch {torch.__version__}, {len(KINDS)} kinds of samples, {os.cpu_count()} cores"]
    with tempfile.TemporaryDirectory() as directory:
        for line in rows(Path(directory)):
            lines.append(line)
            print(line, flush=True)
    if given.log:
        given.log.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
