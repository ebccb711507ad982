"""Compare compression methods with their parent, all from one training and measured in one run.

The parent is a small residual network on Fashion-MNIST (Xiao et al., 2017), trained once. Every method starts
from its checkpoint, and is measured like any trial: ONNX Runtime, one thread, batch 1, in its own process.
Accuracy is on the published test split, which no trial reads. The table has MACs next to milliseconds to show
that MACs do not predict latency well.

    python benchmarks/compress.py --log benchmarks/logs/compress.log
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch
from fashion import test_split
from trials import run, tell, test_accuracy

MODEL = {
    "model.family": "resnet", "model.width": "32", "model.depth": "1", "model.stages": "3",
    "augment.policy": "flip_crop", "recipe.lr": "0.1",
}  # fmt: skip
METHODS: dict[str, dict[str, str]] = {
    "none": {},
    "int8_dynamic": {},
    "int8_static": {},
    "prune 0.3": {"compress.ratio": "0.3"},
    "prune 0.5": {"compress.ratio": "0.5"},
    "prune+kd+int8_static 0.5": {"compress.ratio": "0.5"},
    "prune+kd 0.5": {"compress.ratio": "0.5"},
    "prune+tune 0.5": {"compress.ratio": "0.5"},
    "prune+kd 0.7": {"compress.ratio": "0.7"},
    "prune+kd 0.5 taylor": {"compress.ratio": "0.5", "compress.importance": "taylor"},
    "prune+kd 0.5 network": {"compress.ratio": "0.5", "compress.scope": "network"},
    "prune+kd 0.3": {"compress.ratio": "0.3"},
    "kd": {},
}


def rows(given: argparse.Namespace, directory: Path) -> Iterator[str]:
    """Yield the table, a line for each method."""
    inputs, labels = test_split(given.data)
    data = {"uri": f"file://{given.data}", "format": "IDX", "validation": "0.05"}
    first: dict[str, float] = {}
    yield (
        f"{'method':26} {'accuracy':>9} {'params':>8} {'MACs':>10} {'p50 ms':>8} {'p95 ms':>8} {'bytes':>8}"
        f" {'points':>7} {'faster':>7} {'smaller':>8}"
    )
    for number, name in enumerate(given.methods):
        method = {"compress.method": name.partition(" ")[0]} | METHODS[name]
        if name != "none":
            method["compress.must"] = "anything"
        if "+" in name or name == "kd":
            method["compress.tune_epochs"] = str(given.tune_epochs)
        report = run(MODEL | method, data, given.epochs, 0, directory, number)
        accuracy, m = test_accuracy(report, inputs, labels), report.metrics
        first = first or {"accuracy": accuracy, "latency": m["latency_p50_ms"], "bytes": m["artifact_bytes"]}
        faster = m.get("parent_latency_p50_ms", first["latency"]) / m["latency_p50_ms"]
        yield (
            f"{name:26} {100 * accuracy:9.2f} {m['parameters']:8.0f} {m['macs']:10.0f}"
            f" {m['latency_p50_ms']:8.4f} {m['latency_p95_ms']:8.4f} {m['artifact_bytes']:8.0f}"
            f" {100 * (accuracy - first['accuracy']):+7.2f} {faster:7.2f}"
            f" {first['bytes'] / m['artifact_bytes']:8.2f}"
        )
        yield json.dumps({"method": name, "test": accuracy, "seconds": report.seconds} | m)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--tune-epochs", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--directory", type=Path, help="leave all here; what has been trained is not again")
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    epochs = f"{given.epochs} epochs and {given.tune_epochs} more"
    head = f"torch {torch.__version__}, {os.cpu_count()} cores, {epochs}"
    with tempfile.TemporaryDirectory() as scratch:
        tell(chain([head], rows(given, given.directory or Path(scratch))), given.log)


if __name__ == "__main__":
    main()
