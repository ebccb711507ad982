"""Does a temperature help where it was not fitted? Every family of networks on MNIST-1D, 1,000 test samples.

Each is trained twice: `long`, without regularisation, and `smooth`, few epochs with smoothed labels, so that
some say too much and some too little. The temperature is fitted on a validation of a fifth of the training
samples; ECE (15 bins) and loss are of the published test split, by the exported graph: after as it is
shipped, before with its logits times the temperature, which is what it was without. Trees have none.

    python benchmarks/calibration.py --log benchmarks/logs/calibration.log
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from mnist1d import data as mnist1d
from safetensors.numpy import load_file
from trials import run

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
    "recipe.optimizer": "adamw", "recipe.lr": "0.01", "recipe.weight_decay": "0", "recipe.batch_size": "100",
    "recipe.calibration": "temperature",
}  # fmt: skip
DATA = {"uri": "generated:mnist1d", "format": "MNIST1D", "validation": "0.2"}
METRICS = ("accuracy", "ece", "loss")


def main() -> None:
    """Train, print the table, keep what each trial gave."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", type=int, default=12, help="epochs")
    parser.add_argument("--smooth", type=int, default=4, help="epochs")
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    made = mnist1d.make_dataset(mnist1d.get_dataset_args())
    inputs, labels = made["x_test"][:, None].astype(np.float32), made["y_test"].astype(np.int64)
    ways = {"long": (given.long, {}), "smooth": (given.smooth, {"recipe.label_smoothing": "0.2"})}
    head = f"{'model':12} {'trained':8} {'accuracy':>8} {'temperature':>11} {'ECE before':>10} {'after':>6}"
    rows = [f"{head} {'loss before':>11} {'after':>6}"]
    lines = []
    for name, model in MODELS.items():
        for way, (epochs, recipe) in ways.items():
            with tempfile.TemporaryDirectory() as directory:
                report = run(
                    COMMON | {"model.family": name} | model | recipe, DATA, epochs, 0, Path(directory)
                )
                files = {one.name: one.uri.removeprefix("file://") for one in report.artifacts}
                session = onnxruntime.InferenceSession(
                    files["model.onnx"], providers=["CPUExecutionProvider"]
                )
                (logits,) = session.run(None, {"input": inputs})
                temperature = float(load_file(files["model.safetensors"])["temperature"])
            after, before = quality(logits, labels), quality(logits * temperature, labels)
            kept = {"model": name, "trained": way, "temperature": temperature, "seconds": report.seconds}
            kept |= {f"before_{metric}": before[metric] for metric in METRICS}
            lines.append(json.dumps(kept | {f"after_{metric}": after[metric] for metric in METRICS}))
            rows.append(
                f"{name:12} {way:8} {after['accuracy']:8.3f} {temperature:11.2f} {before['ece']:10.3f}"
                f" {after['ece']:6.3f} {before['loss']:11.3f} {after['loss']:6.3f}"
            )
            print(rows[-1], flush=True)
    print("\n".join(rows))
    if given.log:
        given.log.write_text("\n".join([*rows, "", *lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
