"""Training in the benchmark's own process, for timing a stage or a loop instead of a pod."""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.fit import TrainingLoop
from comptroller_trainer.learning.checkpoint import Checkpoints
from comptroller_trainer.meter import Meter
from comptroller_trainer.models.base import Classifier
from comptroller_trainer.recipe.parse import Recipe
from comptroller_trainer.runtime.progress import AttemptProgress
from comptroller_trainer.runtime.stop import StopSignal
from comptroller_trainer.stages.base import Context
from comptroller_trainer.store import open_store

Clock = Callable[[], float]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
"""`cpu` is for one thread on a machine with neighbours, whose time does not count."""


def model_of(recipe: Recipe, dataset: Dataset, context: Context) -> Classifier:
    """Return an untrained model in the memory format of a trial."""
    torch.manual_seed(context.seed)
    body = recipe.family.build(context.shape, context.outputs)
    mean, deviation = (moment.to(context.device) for moment in dataset.moments())
    model = Classifier(body, mean, deviation, context.shape)
    if len(context.shape) == 3:  # noqa: PLR2004 - images
        model.to(memory_format=torch.channels_last)
    return model.to(context.device)


@contextmanager
def fit_of(model: Classifier, dataset: Dataset, recipe: Recipe, context: Context) -> Iterator[TrainingLoop]:
    """Return the trainer's loop around a fitted selector, with checkpoints in a directory."""
    meter = Meter(1.0)
    try:
        with tempfile.TemporaryDirectory() as directory:
            checkpoints = Checkpoints(open_store(f"file://{directory}"), "benchmark", 0)
            progress = AttemptProgress("benchmark", 0.0, 86_400, meter)
            yield TrainingLoop(model, dataset, recipe, context, checkpoints, StopSignal(), progress)
    finally:
        meter.close()


def context_of(dataset: Dataset, seed: int, epochs: int, directory: Path) -> Context:
    """Return the context of a trial, on the GPU if there is one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Context(seed, epochs, dataset.classes, dataset.shape, device, directory)
