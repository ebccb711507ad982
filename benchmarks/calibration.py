"""Does a temperature help on unseen data? All networks on MNIST-1D, two on Fashion-MNIST.

Each is trained twice: `long`, without regularisation, and `smooth`, for few epochs with smoothed labels, so
that some models are overconfident and some underconfident. The temperature is fitted on a validation split of
a fifth of the training samples. ECE (15 bins) and loss are measured on 10,000 other samples with the exported
graph: "after" as it is shipped, "before" with its logits multiplied by the temperature, which undoes it.
Trees have no temperature. The other samples are Fashion-MNIST's published test split, and MNIST-1D generated
with another seed, because its test split has only 1,000 samples, on which ECE errs by a hundredth.

    python benchmarks/calibration.py --log benchmarks/logs/calibration.log
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import mean

import numpy as np
import onnxruntime
from fashion import test_split
from mnist1d import data as mnist1d
from numpy.typing import NDArray
from safetensors.numpy import load_file
from trials import mean_and_spread, run, tell

from comptroller_trainer.measure.quality import quality

MODELS = {
    "linear": {},
    "mlp": {"model.width": "100", "model.depth": "2"},
    "cnn": {"model.width": "16", "model.depth": "3"},
    "dscnn": {"model.width": "16", "model.depth": "3"},
    "resnet": {"model.width": "8", "model.depth": "1"},
    "transformer": {"model.width": "32", "model.depth": "2"},
    "gru": {"model.width": "8"},
}  # fmt: skip
COMMON = {
    "recipe.optimizer": "adamw", "recipe.weight_decay": "0", "recipe.batch_size": "100",
    "recipe.calibration": "temperature",
}  # fmt: skip
FASHION = Path("/usr/share/datasets/fashion-mnist")
DATA = {
    "mnist1d": {"uri": "generated:mnist1d", "format": "MNIST1D", "validation": "0.2"},
    "fashion": {"uri": FASHION.as_uri(), "format": "IDX", "validation": "0.2"},
}
FAMILIES = {"mnist1d": list(MODELS), "fashion": ["linear", "mlp"]}
RATES = {"mnist1d": "0.01", "fashion": "0.001"}
METRICS = ("accuracy", "ece", "loss")


def main() -> None:
    """Train, print the table, and log each trial's result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--long", type=int, default=12, help="epochs")
    parser.add_argument("--smooth", type=int, default=4, help="epochs")
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    tell(rows(given), given.log)


def rows(given: argparse.Namespace) -> Iterator[str]:
    """Yield a line for each trial, then the table."""
    others = {"mnist1d": fresh(), "fashion": test_split(FASHION)}
    ways = {"long": (given.long, {}), "smooth": (given.smooth, {"recipe.label_smoothing": "0.2"})}
    table = [
        (
            f"{'data':8} {'model':12} {'trained':8} {'accuracy':>10} {'temperature':>11} {'ECE before':>10}"
            f" {'after':>10} {'loss before':>11} {'after':>6} {'ECE lower':>10}"
        )
    ]
    models = [(data, name) for data in given.data for name in FAMILIES[data]]
    for (data, name), (way, (epochs, recipe)) in product(models, ways.items()):
        parameters = COMMON | {"model.family": name, "recipe.lr": RATES[data]} | MODELS[name] | recipe
        found = []
        for seed in range(given.seeds):
            found.append(trial(parameters, DATA[data], epochs, seed, *others[data]))
            yield json.dumps({"data": data, "model": name, "trained": way, "seed": seed} | found[-1])
        of = {key: [row[key] for row in found] for key in found[0]}
        lower = sum(row["after_ece"] < row["before_ece"] for row in found)
        table.append(
            f"{data:8} {name:12} {way:8} {mean_and_spread(of['after_accuracy']):>10}"
            f" {mean(of['temperature']):11.2f}"
            f" {mean_and_spread(of['before_ece']):>10} {mean_and_spread(of['after_ece']):>10}"
            f" {mean(of['before_loss']):11.3f} {mean(of['after_loss']):6.3f} {lower:>5} of {given.seeds}"
        )
    yield from table


def trial(
    parameters: dict[str, str], data: dict[str, str], epochs: int, seed: int, inputs: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> dict[str, float]:  # fmt: skip
    """Return the effect of one trial's temperature."""
    with tempfile.TemporaryDirectory() as directory:
        report = run(parameters, data, epochs, seed, Path(directory))
        files = {one.name: one.uri.removeprefix("file://") for one in report.artifacts}
        session = onnxruntime.InferenceSession(files["model.onnx"], providers=["CPUExecutionProvider"])
        (logits,) = session.run(None, {"input": inputs})
        temperature = float(load_file(files["model.safetensors"])["temperature"])
    after, before = quality(logits, labels), quality(logits * temperature, labels)
    kept = {"temperature": temperature, "seconds": report.seconds}
    kept |= {f"before_{metric}": before[metric] for metric in METRICS}
    return kept | {f"after_{metric}": after[metric] for metric in METRICS}


def fresh() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return samples (10000, 1, 40) that no trial has seen, and their classes."""
    options = mnist1d.get_dataset_args()
    options.seed, options.num_samples, options.train_split = 1, 10_000, 0.0
    made = mnist1d.make_dataset(options)
    return made["x_test"][:, None].astype(np.float32), made["y_test"].astype(np.int64)


if __name__ == "__main__":
    main()
