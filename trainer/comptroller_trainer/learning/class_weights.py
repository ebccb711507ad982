"""Weights of the loss by class, for classes of unequal size."""

from typing import Literal

import torch
from torch import Tensor

from comptroller_trainer.stages.base import Context

_EFFECTIVE_BETA = 0.999


def class_weights_of(
    method: Literal["none", "balanced", "effective"], labels: Tensor, context: Context
) -> Tensor | None:
    """(classes,), scaled so that the training samples' mean is 1: the learning rate keeps its meaning."""
    if method == "none":
        return None
    weights = class_weights(labels.cpu(), context.classes, method).to(context.device, torch.float32)
    return weights / weights[labels].mean()


def class_weights(
    labels: Tensor,
    classes: int,
    method: Literal["none", "balanced", "effective"],
    beta: float = _EFFECTIVE_BETA,
) -> Tensor:
    """Weights of the loss by class, (classes,) float32, 1 on average over the samples.

    Args:
        labels: (n,) int64, of the training split.
        classes: of the task; one without a sample has weight 0.
        method: `balanced`: inverse frequency; `effective`: inverse effective number of samples, where each
            next one adds `beta` of what the one before did (Cui et al., 2019).
        beta: 0 to 1, exclusive.
    """
    sizes = labels.cpu().bincount(minlength=classes).double()
    numbers = {
        "none": torch.ones(classes, dtype=torch.float64),
        "balanced": sizes,
        "effective": (1 - beta**sizes) / (1 - beta),
    }[method]
    weights = torch.where(sizes > 0, 1 / numbers, 0.0)
    return (weights * sizes.sum() / (weights * sizes).sum()).float()
