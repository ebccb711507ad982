"""Fashion-MNIST (Xiao et al., 2017): what a perceptron and a small CNN reach, on the published test split.

    python benchmarks/fashion.py --log benchmarks/logs/fashion.log

The files are those of Debian's `dataset-fashion-mnist`. A twentieth of the training split is held out for
validation; nothing is chosen by the test split.
"""

import argparse
import gzip
import json
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from trials import mean_and_spread, run, test_accuracy

WANTED = {"MLP": 0.883, "CNN": 0.925}
"""Test accuracies; the CNN's with fewer than 100,000 parameters."""
MODELS = {
    "MLP": {
        "model.family": "mlp", "model.width": "256", "model.depth": "2", "model.dropout": "0.2",
        "recipe.lr": "0.05",
    },
    "CNN": {
        "model.family": "cnn", "model.width": "32", "model.depth": "3", "augment.policy": "flip_crop",
        "recipe.lr": "0.1",
    },
}  # fmt: skip
EPOCHS = {"MLP": 20, "CNN": 30}


def test_split(directory: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images (10000, 1, 28, 28) and classes of the published test split."""
    images, found = (
        gzip.decompress((directory / f"t10k-{name}-ubyte.gz").read_bytes())
        for name in ("images-idx3", "labels-idx1")
    )
    inputs = np.frombuffer(images, np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return inputs.astype(np.float32), np.frombuffer(found, np.uint8, offset=8).astype(np.int64)


def main() -> None:
    """Train, print the table, keep what each trial gave."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    inputs, labels = test_split(given.data)
    data = {"uri": f"file://{given.data}", "format": "IDX", "validation": "0.05"}
    lines = []
    rows = [
        f"{'model':6} {'wanted':>6} {'here':>12} {'parameters':>10} {'macs':>10} {'seconds':>8} {'joules':>8}"
    ]
    for name in given.models:
        found = []
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as directory:
                report = run(MODELS[name], data, EPOCHS[name], seed, Path(directory))
                found.append(test_accuracy(report, inputs, labels))
            kept = {"model": name, "seed": seed, "test": found[-1], "seconds": report.seconds}
            lines.append(json.dumps(kept | report.metrics | report.environment))
            print(lines[-1], flush=True)
        metrics = report.metrics
        joules = f"{report.energy_joules:8.0f}" if report.energy_joules else f"{'-':>8}"
        rows.append(
            f"{name:6} {100 * WANTED[name]:6.1f} {mean_and_spread(found):>12} {metrics['parameters']:10.0f}"
            f" {metrics['macs']:10.0f} {report.seconds:8.1f} {joules}"
        )
    print("\n".join(rows))
    if given.log:
        given.log.write_text("\n".join([*rows, "", *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
