"""What training minimises: a number a sample, so that selectors can weigh and watch it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from comptroller_trainer.stages import Context
from comptroller_trainer.training import Training

Criterion = Callable[[Tensor, Tensor], Tensor]
"""Losses (n,) of outputs (n, outputs) float32 against targets (n,), or (n, classes) once mixed."""


def criterion(training: Training, labels: Tensor, context: Context) -> Criterion:
    """The loss that `training` names.

    Args:
        training: the recipe.
        labels: (n,), of the training split: class weights and the targets' deviation are theirs.
        context: the trial.
    """
    if context.classes:
        return _of_classes(training, labels, context)
    deviation = deviation_of(labels)
    delta = training.huber_delta

    # In deviations of the target, so that one learning rate suits grams and tons.
    def of_numbers(outputs: Tensor, targets: Tensor) -> Tensor:
        error = (outputs.squeeze(1) - targets) / deviation
        if training.loss == "huber":
            return functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta)
        return error.square()

    return of_numbers


def deviation_of(labels: Tensor) -> float:
    """The targets' standard deviation; 1 where they do not vary."""
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


def class_weights_of(
    method: Literal["none", "balanced", "effective"], labels: Tensor, context: Context
) -> Tensor | None:
    """(classes,), scaled so that the training samples' mean is 1: the learning rate keeps its meaning."""
    if method == "none":
        return None
    from comptroller_trainer.selection.imbalance import class_weights  # noqa: PLC0415

    weights = class_weights(labels.cpu(), context.classes, method).to(context.device, torch.float32)
    return weights / weights[labels].mean()


@dataclass(frozen=True, slots=True)
class Soft:
    """A teacher's part of a student's loss."""

    teacher: nn.Module
    """Of the same inputs and classes, in eval mode and frozen."""
    alpha: float
    """The part's share, more than 0 and at most 1."""
    temperature: float
    """What logits are divided by."""
    features: bool = False
    """Compare the distances between samples in front of the last layer, not the outputs."""

    def blended(self, losses: Tensor, inputs: Tensor, outputs: Tensor, seen: Tensor | None) -> Tensor:
        """(n,) of the labels' `losses` (n,) and the teacher's.

        Args:
            losses: (n,).
            inputs: (n, *shape), as the student saw them.
            outputs: (n, classes), the student's logits.
            seen: (n, d), what the student's last layer was given; wanted where features are compared.
        """
        watched: AbstractContextManager[list[Tensor]] = (
            last_input(self.teacher) if self.features else nullcontext([])
        )
        with torch.no_grad(), watched as theirs:
            logits = self.teacher(inputs.float()).float()
        if self.features:
            assert seen is not None  # noqa: S101  # `Step` watches where it is wanted
            apart = functional.smooth_l1_loss(
                _distances(seen), _distances(theirs[-1]), reduction="none"
            ).mean(1)
        else:
            apart = functional.kl_div(
                (outputs / self.temperature).log_softmax(1), (logits / self.temperature).log_softmax(1),
                reduction="none", log_target=True,
            ).sum(1) * self.temperature**2  # fmt: skip
        return (1 - self.alpha) * losses + self.alpha * apart


@contextmanager
def last_input(model: nn.Module) -> Iterator[list[Tensor]]:
    """Catches what the last linear layer is given in each forward pass: (n, d), positions averaged."""
    caught: list[Tensor] = []
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]

    def catch(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        caught.append(given[0].reshape(len(given[0]), -1, given[0].shape[-1]).mean(1))

    hook = last.register_forward_pre_hook(catch)
    try:
        yield caught
    finally:
        hook.remove()


def _distances(points: Tensor) -> Tensor:
    """(n, n) between samples (n, d), in their mean."""
    points = points.float()
    # Of equal points the root has no derivative.
    apart = (points[:, None] - points[None]).square().sum(2).clamp_min(1e-12).sqrt()
    return apart / apart.mean().clamp_min(1e-12)
