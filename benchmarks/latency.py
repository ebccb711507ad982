"""Do repeated measurements of a latency agree, on a quiet machine and with all other cores busy?

Networks with random weights are exported and served like a trial's artifact: ONNX Runtime, one thread, batch
1. The machine's pace is sampled for half a minute before the first one, as it is while a trial trains. The
spread is of p95 over the repeats, as a share of the smallest. Measurements with `latency_trusted` 0 are left
out, and counted.

    python benchmarks/latency.py --log benchmarks/logs/latency.log
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import structlog
import torch
from trials import tell

from comptroller_api.study import Latency
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.export.onnx import export
from comptroller_trainer.measure.artifact import served
from comptroller_trainer.measure.pace import Fastest
from comptroller_trainer.models.base import Classifier
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.stages.base import Context

_WATCHED = 30.0
SHAPE, CLASSES = (1, 28, 28), 10
MODELS = {
    "mlp": {"model.family": "mlp", "model.width": "256"},
    "cnn": {"model.family": "cnn", "model.width": "32"},
    "resnet": {"model.family": "resnet", "model.width": "16", "model.depth": "2"},
}


def _spin() -> None:
    while True:
        pass


@contextmanager
def busy(cores: int) -> Iterator[None]:
    """Run that many processes that only use CPU time."""
    others = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(cores)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.terminate()


def figures(repeats: int, fastest: Fastest) -> Iterator[str]:
    """Yield a line for each network, quiet and busy."""
    latency, inputs = Latency(limit="1s"), torch.zeros(1, *SHAPE)
    for name, parameters in MODELS.items():
        with tempfile.TemporaryDirectory() as directory:
            context = Context(0, 1, CLASSES, SHAPE, torch.device("cpu"), Path(directory))
            torch.manual_seed(0)
            body = parse(parameters).family.build(SHAPE, CLASSES)
            graph, _ = export(Classifier(body, torch.zeros(1), torch.ones(1), SHAPE), context)
            for load in (0, max(1, (os.cpu_count() or 1) - 1)):
                with busy(load):
                    sample = Samples(inputs, torch.zeros(1))
                    found = [served(graph, sample, latency, context, fastest) for _ in range(repeats)]
                trusted = [one["latency_p95_ms"] for one in found if one["latency_trusted"]]
                spread = f"{max(trusted) / min(trusted) - 1:.1%}" if trusted else "-"
                times = " ".join(f"{one['latency_p95_ms']:.4f}" for one in found)
                which = f"of the {len(trusted)} of {repeats} that trust themselves"
                yield f"{name:8} {load} cores busy: p95 {times} ms; spread {spread} {which}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    head = f"torch {torch.__version__}, {os.cpu_count()} cores"
    with Fastest() as fastest:
        time.sleep(_WATCHED)
        tell(chain([head], figures(given.repeats, fastest)), given.log)


if __name__ == "__main__":
    main()
