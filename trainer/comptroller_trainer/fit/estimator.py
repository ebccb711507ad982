"""Models that are trained at once, without the loop."""

import time
from typing import Any

from torch import nn

from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.fit.state import TrainingState
from comptroller_trainer.fit.validate import validated
from comptroller_trainer.learning.class_weights import class_weights_of
from comptroller_trainer.learning.distributed import Peers
from comptroller_trainer.models.base import EstimatorFamily
from comptroller_trainer.recipe.parse import Recipe
from comptroller_trainer.runtime.progress import AttemptProgress
from comptroller_trainer.stages.base import Context


def fit_estimator(
    family: EstimatorFamily[Any], dataset: Dataset, recipe: Recipe, context: Context,
    epochs: int, progress: AttemptProgress, peers: Peers,
) -> tuple[nn.Module, TrainingState]:  # fmt: skip
    """Return the model as it is after `epochs` of the last rung's, and its training state.

    Each rung is trained from the start and takes what its epochs take; there is no checkpoint.

    Raises:
        AssignmentError: the recipe needs the training loop.
    """
    name = recipe.names["model"]
    if peers.size > 1:
        raise AssignmentError("WORLD_SIZE", peers.size, f"is more than 1, and one process trains {name}")
    began, joules = time.monotonic(), progress.meter.joules()
    selection = recipe.selector.select(0)
    samples = dataset.train.take(selection.indices)
    weights = selection.weights
    if context.classes:
        balance = class_weights_of(recipe.training.class_weights, dataset.train.labels, context)
        if balance is not None:
            balance = balance[samples.labels]
            weights = balance if weights is None else weights * balance
    model = family.train(samples, weights, epochs / context.total_epochs, context).to(context.device).eval()
    metrics = validated(model, dataset.validation, context.device, peers)
    seconds = time.monotonic() - began
    costs = {"seconds": seconds, "memory_bytes": float(progress.meter.peak_memory_bytes())}
    used = progress.meter.joules()
    if joules is not None and used is not None:
        costs["energy_joules"] = used - joules
    progress.epoch, progress.metrics = epochs, metrics
    return model, TrainingState(
        epoch=epochs, seconds=seconds, history=[{"epoch": epochs, **metrics, **costs}]
    )
