"""Does a trial give the same results again? Ten trials of different stages, each with two rungs.

Each is trained on one thread by two trainer processes, the second resuming from the first one's checkpoint.
Then it is run again as `comptroller reproduce` does: from its report and artifacts, in one run. Metrics,
weights, the exported graph, the samples trained on and the data are compared bit by bit, on the CPU.

    python benchmarks/reproduce.py --log benchmarks/logs/reproduce.log
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.cli import again
from comptroller.cli.reproduced import Left, compare, differing
from comptroller.cluster.local import TRAINER
from comptroller_api.contract import Assignment, report_key
from comptroller_api.meta import Metadata
from comptroller_api.trial import Proposal, RungResult, Trial, TrialSpec, TrialStatus

RUNGS = (2, 4)
"""The epochs at the end of each rung."""
SEED = 7
SETTINGS = {"threads": "1", "device": "cpu"}
ADAM = {"recipe.optimizer": "adamw", "recipe.lr": "0.001"}
SMALL = {"model.width": "8", "model.depth": "2"}
TRIALS: dict[str, dict[str, str]] = {
    "linear": {"model.family": "linear", "data.selector": "random", "data.keep": "0.5"},
    "mlp": {
        "model.family": "mlp", "model.width": "32", "model.dropout": "0.2", "data.selector": "infobatch",
        "augment.policy": "noise", "compress.method": "int8_dynamic", "compress.must": "anything",
    },
    "cnn": SMALL | {
        "model.family": "cnn", "data.selector": "rs2", "data.keep": "0.7", "augment.policy": "flip_crop",
        "compress.method": "int8_static", "compress.must": "anything", "recipe.ema": "0.9",
    },
    "cnn, pruned": {
        "model.family": "cnn", "model.width": "16", "model.depth": "2", "data.selector": "el2n",
        "data.keep": "0.6", "augment.policy": "mixup", "compress.method": "prune+tune",
        "compress.must": "anything",
    },
    "dscnn": SMALL | {
        "model.family": "dscnn", "data.selector": "k_center", "data.keep": "0.5",
        "augment.policy": "randaugment", "recipe.calibration": "temperature",
    },
    "resnet": {
        "model.family": "resnet", "model.width": "8", "model.depth": "1", "data.selector": "forgetting",
        "data.keep": "0.6", "augment.policy": "erasing", "compress.method": "kd",
    },
    "transformer": ADAM | {
        "model.family": "transformer", "model.width": "32", "model.depth": "2", "data.selector": "curriculum",
        "augment.policy": "affine",
    },
    "gru": ADAM | {
        "model.family": "gru", "model.width": "8", "data.selector": "importance", "augment.policy": "scale",
    },
    "timm": ADAM | {
        "model.family": "timm", "model.name": "test_resnet", "data.selector": "rho_loss", "data.keep": "0.5",
        "augment.policy": "cutmix",
    },
    "trees": {"model.family": "trees", "model.rounds": "8", "data.selector": "balanced"},
}  # fmt: skip
OTHERS: dict[str, dict[str, Any]] = {
    "gru": {"uri": "generated:mnist1d", "format": "MNIST1D", "validation": "0.2"},
    "trees": {"uri": "generated:breast_cancer", "format": "Bundled", "validation": "0.2"},
}
"""Write data that are not images: sequences and a table."""


def corner_images(directory: Path) -> dict[str, Any]:
    """Write noise of 16x16 with one brighter quarter, which is the label."""
    rng = np.random.default_rng(0)
    labels = np.arange(480) % 4
    images = rng.integers(0, 120, (480, 16, 16)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[label // 2 * 8 :, label % 2 * 8 :][:8, :8] += 60
    np.savez(directory / "data.npz", x_train=images, y_train=labels)
    return {"uri": f"file://{directory}", "format": "NPZ", "validation": "0.2"}


def finished(parameters: dict[str, str], data: dict[str, Any], directory: Path) -> tuple[Trial, Left]:
    """Run a trial through all rungs; return its object and its artifacts."""
    directory.mkdir()
    for rung, epochs in enumerate(RUNGS):
        work = Assignment.model_validate(
            {
                "study": "reproduce", "namespace": "benchmark", "trial": 0, "attempt": rung, "seed": SEED,
                "name": f"trial-0-{rung}", "parameters": parameters, "rung": rung, "epochs": epochs,
                "totalEpochs": RUNGS[-1], "data": data, "artifacts": f"file://{directory}",
                "leaseSeconds": 86_400, "graceSeconds": 60, "heartbeatPort": 0,
            }
        )  # fmt: skip
        left = again.run(work, SETTINGS, TRAINER, directory)
    done = RungResult(
        rung=rung, epochs=epochs, metrics=left.report.metrics, report=f"{work.artifacts}/{report_key(rung)}"
    )
    spec = TrialSpec(
        study="reproduce", study_uid="uid", number=0, seed=SEED, parameters=parameters,
        proposal=Proposal(phase="Search", engine="Random"),
    )  # fmt: skip
    return Trial(metadata=Metadata(name="trial-0"), spec=spec, status=TrialStatus(rungs=[done])), left


def reproduced(name: str, directory: Path, data: dict[str, Any], say: Callable[[str], None]) -> None:
    """Run a trial, run it again, and return which parts agree."""
    began = time.monotonic()
    parameters = {"recipe.batch_size": "32", "recipe.lr": "0.05"} | TRIALS[name]
    place = directory / name.replace(", ", "-")
    trial, then = finished(parameters, data, place)
    work = again.assignment(trial, then.report)
    new = place / "again"
    new.mkdir()
    now = again.run(again.elsewhere(work, "again", new, None), then.report.environment, TRAINER, new)
    lines = compare(then, now)
    judged = [line for line in lines if line.judged]
    artifacts = [line.name for line in judged if line.kind == "artifact"]
    apart = differing(lines)
    stages = [parameters.get(key, "") for key in ("data.selector", "augment.policy", "compress.method")]
    say(
        f"{name:12} {' '.join(filter(None, stages)):32} {len(judged) - len(artifacts)} metrics and"
        f" {', '.join(artifacts)}: {f'differ: {apart}' if apart else 'the same'}"
        f" (accuracy {then.report.metrics['accuracy']:.3f}, {time.monotonic() - began:.0f} s)"
    )


def main() -> None:
    """Yield a line for each trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", nargs="+", choices=TRIALS, default=list(TRIALS))
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    say(f"CPU, one thread, rungs of {' and '.join(map(str, RUNGS))} epochs, run again in one go")
    with tempfile.TemporaryDirectory() as directory:
        images = corner_images(Path(directory))
        for name in given.trials:
            reproduced(name, Path(directory), OTHERS.get(name, images), say)
    if given.log:
        given.log.write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
