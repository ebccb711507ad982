"""Compare MNIST-1D (Greydanus, 2020) with its published table, on the published test split.

Each model is trained for the paper's 6,000 steps of 100 samples, with Adam's rate of 0.01 as its peak, on the
4,000 training samples less a validation split of a twentieth. Nothing is augmented, and nothing is chosen by
the test split; the perceptron's regularisation was chosen on a fifth of the training samples.

    python benchmarks/mnist_1d.py --log benchmarks/logs/mnist_1d.log
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from mnist1d import data as mnist1d
from trials import mean_and_spread, run, test_accuracy

PUBLISHED = {"logistic": 0.32, "MLP": 0.68, "CNN": 0.94, "GRU": 0.91}
"""The published test accuracies."""
COMMON = {
    "recipe.optimizer": "adamw", "recipe.lr": "0.01", "recipe.weight_decay": "0", "recipe.batch_size": "100",
}  # fmt: skip
MODELS = {
    "logistic": {"model.family": "linear"},
    "MLP": {
        "model.family": "mlp", "model.width": "100", "model.depth": "2", "model.dropout": "0.1",
        "recipe.weight_decay": "0.3",
    },
    "CNN": {"model.family": "cnn", "model.width": "16", "model.depth": "3"},
    "GRU": {"model.family": "gru", "model.width": "6"},
}  # fmt: skip
DATA = {"uri": "generated:mnist1d", "format": "MNIST1D", "validation": "0.05"}


def main() -> None:
    """Train, print the table, and log each trial's result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    made = mnist1d.make_dataset(mnist1d.get_dataset_args())
    inputs, labels = made["x_test"][:, None].astype(np.float32), made["y_test"].astype(np.int64)
    lines = []
    rows = [f"{'model':10} {'published':>9} {'here':>12} {'parameters':>10} {'seconds':>8}"]
    for name, model in MODELS.items():
        found = []
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as directory:
                report = run(COMMON | model, DATA, given.epochs, seed, Path(directory))
                found.append(test_accuracy(report, inputs, labels))
            kept = {"model": name, "seed": seed, "test": found[-1], "seconds": report.seconds}
            lines.append(json.dumps(kept | report.metrics))
            print(lines[-1], flush=True)
        rows.append(
            f"{name:10} {100 * PUBLISHED[name]:9.1f} {mean_and_spread(found):>12}"
            f" {report.metrics['parameters']:10.0f} {report.seconds:8.1f}"
        )
    text = "\n".join([*rows, "", *lines, ""])
    print("\n".join(rows))
    if given.log:
        given.log.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
