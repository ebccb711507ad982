"""Measure a perceptron and a small CNN on the published test split of Fashion-MNIST (Xiao et al., 2017).

    python benchmarks/fashion.py --log benchmarks/logs/fashion.log

The files are those of Debian's `dataset-fashion-mnist`. A twentieth of the training split is held out for
validation; the test split is used for no choice.

An existing log is continued: trials in the log are not run again.
"""

import argparse
import gzip
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trials import mean_and_spread, run, test_accuracy

WANTED = {"MLP": 0.883, "CNN": 0.925}
"""The published test accuracies; the CNN's is for fewer than 100,000 parameters."""
MODELS = {
    "MLP": {
        "model.family": "mlp", "model.width": "256", "model.depth": "2", "model.dropout": "0.2",
        "recipe.lr": "0.05",
    },
    "CNN": {
        "model.family": "cnn", "model.width": "32", "model.depth": "3", "augment.policy": "flip",
        "recipe.lr": "0.1",
    },
}  # fmt: skip
EPOCHS = {"MLP": 20, "CNN": 20}


def test_split(directory: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return images (10000, 1, 28, 28) and classes of the published test split."""
    images, found = (
        gzip.decompress((directory / f"t10k-{name}-ubyte.gz").read_bytes())
        for name in ("images-idx3", "labels-idx1")
    )
    inputs = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return inputs.astype(np.float32), np.frombuffer(found, np.uint8, offset=8).astype(np.int64)


def main() -> None:
    """Train, print the table, and log each trial's result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    inputs, labels = test_split(given.data)
    data = {"uri": f"file://{given.data}", "format": "IDX", "validation": "0.05"}
    found = kept(given.log)
    for name in given.models:
        for seed in range(given.seeds):
            if (name, seed) in found:
                continue
            with tempfile.TemporaryDirectory() as directory:
                report = run(MODELS[name], data, EPOCHS[name], seed, Path(directory))
                accuracy = test_accuracy(report, inputs, labels)
            cost = {"seconds": report.seconds, "joules": report.energy_joules}
            row = {"model": name, "seed": seed, "test": accuracy} | cost | report.metrics | report.environment
            found[name, seed] = row
            say(json.dumps(row), given.log)
    say("\n".join(table(list(found.values()))), given.log)


def kept(log: Path | None) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the results in a log, by model and seed."""
    lines = log.read_text(encoding="utf-8").splitlines() if log and log.exists() else []
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    return {(row["model"], row["seed"]): row for row in rows}


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield means over seeds, a line for each model."""
    yield "model  wanted         here parameters       macs  seconds   joules"
    for name, wanted in WANTED.items():
        of = [row for row in rows if row["model"] == name]
        if of:
            joules = [row["joules"] for row in of if row["joules"]]
            yield (
                f"{name:6} {100 * wanted:6.1f} {mean_and_spread([row['test'] for row in of]):>12}"
                f" {of[0]['parameters']:10.0f} {of[0]['macs']:10.0f}"
                f" {statistics.mean(row['seconds'] for row in of):8.1f}"
                f" {f'{statistics.mean(joules):.0f}' if joules else '-':>8}"
            )


def say(text: str, log: Path | None) -> None:
    """Print a line, and add it to the log."""
    print(text, flush=True)
    if log:
        with log.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
