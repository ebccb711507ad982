"""Measure the gain from a teacher: the same student is fine-tuned on labels alone, and towards a teacher.

The teacher is a small CNN on Fashion-MNIST (Xiao et al., 2017), trained once on all samples. Each student is
a perceptron with its own seed that sees a share of the samples (`--keep`), trained once. From that checkpoint
it is fine-tuned twice, for the same number of epochs and on the same samples: on the labels (`tune`) and
towards the teacher (`kd`). Accuracy is of the exported model on the published test split, which no trial
reads.

A teacher helps most if a student has seen few samples; run with `--keep 1` to compare.

    python benchmarks/distil.py --log benchmarks/logs/distil.log
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import torch
from fashion import test_split
from trials import mean_and_spread, run, tell, test_accuracy

TEACHER = {
    "model.family": "cnn", "model.width": "24", "model.depth": "3", "augment.policy": "flip_crop",
    "recipe.lr": "0.1",
}  # fmt: skip
STUDENT = {
    "model.family": "mlp", "model.width": "256", "model.depth": "2", "recipe.lr": "0.05",
    "data.selector": "random",
}  # fmt: skip
WANTED = 0.003


def rows(given: argparse.Namespace, directory: Path) -> Iterator[str]:
    """Yield a line for each seed, then the summary."""
    inputs, labels = test_split(given.data)
    data = {"uri": f"file://{given.data}", "format": "IDX", "validation": "0.05"}
    student = STUDENT | {"data.keep": str(given.keep)}
    report = run(TEACHER, data, given.teacher_epochs, 0, directory / "teacher")
    yield (
        f"teacher, {given.teacher_epochs} epochs: {100 * test_accuracy(report, inputs, labels):.2f},"
        f" {report.metrics['parameters']:.0f} parameters"
    )
    further = {"compress.tune_epochs": str(given.tune_epochs), "compress.tune_rate": "0.5"}
    ways = {
        "none": {"compress.method": "none"},
        "tune": {"compress.method": "tune"} | further,
        "kd": {"compress.method": "kd", "compress.teacher": (directory / "teacher/rungs/0").as_uri()}
        | further,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for seed in range(given.seeds):
        for number, (name, way) in enumerate(ways.items()):
            report = run(student | way, data, given.epochs, seed, directory / f"student-{seed}", number)
            found[name].append(test_accuracy(report, inputs, labels))
        yield f"seed {seed}: " + ", ".join(f"{name} {100 * of[-1]:.2f}" for name, of in found.items())
    yield f"student of {report.metrics['parameters']:.0f} parameters on {given.keep:g} of the samples,"
    yield f"{given.epochs} epochs and {given.tune_epochs} more: " + ", ".join(
        f"{n} {mean_and_spread(of)}" for n, of in found.items()
    )
    gains = [kd - tune for kd, tune in zip(found["kd"], found["tune"], strict=True)]
    yield (
        f"the teacher adds {100 * statistics.mean(gains):+.2f} points, seed by seed"
        f" {' '.join(f'{100 * gain:+.2f}' for gain in gains)}; wanted {100 * WANTED:+.1f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--teacher-epochs", type=int, default=12)
    parser.add_argument("--keep", type=float, default=0.1)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--tune-epochs", type=int, default=20)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--directory", type=Path, help="leave all here; what has been trained is not again")
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        lines = rows(given, given.directory or Path(scratch))
        tell(chain([f"torch {torch.__version__}"], lines), given.log)


if __name__ == "__main__":
    main()
