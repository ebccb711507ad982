"""The loss of training: a number a sample, so that selectors can weigh and watch it."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from comptroller_trainer.learning.class_weights import class_weights_of
from comptroller_trainer.learning.training import Training
from comptroller_trainer.stages.base import Context

Criterion = Callable[[Tensor, Tensor], Tensor]
"""Losses (n,) of outputs (n, outputs) float32 against targets (n,), or (n, classes) once mixed."""


def criterion(training: Training, labels: Tensor, context: Context) -> Criterion:
    """Return the loss that `training` names.

    Args:
        training: the recipe.
        labels: (n,), of the training split: class weights and the targets' deviation are theirs.
        context: the trial.
    """
    if context.classes:
        return _of_classes(training, labels, context)
    deviation = deviation_of(labels)
    delta = training.huber_delta

    # The unit is the target's deviation, so that one learning rate suits grams and tons.
    def of_numbers(outputs: Tensor, targets: Tensor) -> Tensor:
        error = (outputs.squeeze(1) - targets) / deviation
        if training.loss == "huber":
            return functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta)
        return error.square()

    return of_numbers


def deviation_of(labels: Tensor) -> float:
    """Return the targets' standard deviation; 1 if they do not vary."""
    return float(labels.double().std(correction=0)) or 1.0


def _of_classes(training: Training, labels: Tensor, context: Context) -> Criterion:
    weights = class_weights_of(training.class_weights, labels, context)
    smoothing = training.label_smoothing

    def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
        return functional.cross_entropy(outputs, targets, label_smoothing=smoothing, reduction="none")

    def focal(outputs: Tensor, targets: Tensor) -> Tensor:
        log = outputs.log_softmax(1)
        if targets.ndim == 1:
            targets = functional.one_hot(targets, context.classes).float()
        targets = targets * (1 - smoothing) + smoothing / context.classes
        return -(targets * (1 - log.exp()).pow(training.focal_gamma) * log).sum(1)

    plain = focal if training.loss == "focal" else cross_entropy
    if weights is None:
        return plain

    def weighted(outputs: Tensor, targets: Tensor) -> Tensor:
        share = weights[targets] if targets.ndim == 1 else targets @ weights
        return plain(outputs, targets) * share

    return weighted
