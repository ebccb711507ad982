"""Measure the quality on corrupted inputs, as in Hendrycks and Dietterich (2019).

docs/reference/measure.md has every formula and severity.
"""

from collections.abc import Callable
from math import ceil
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from comptroller_api.metrics import MAXIMISED, Corruption
from comptroller_trainer.augment.base import stored_like
from comptroller_trainer.data.samples import Samples, moments
from comptroller_trainer.measure.artifact import Infer
from comptroller_trainer.measure.quality import quality
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, TABLE

_BATCH = 256


class Usual(NamedTuple):
    """Mean and deviation of each channel or feature in validation; both broadcast over (n, *shape)."""

    mean: Tensor
    deviation: Tensor


Corrupt = Callable[[Tensor, float, Usual, torch.Generator], Tensor]
"""A function that corrupts inputs (n, *shape), float32, by a severity."""


def _noise(inputs: Tensor, severity: float, usual: Usual, generator: torch.Generator) -> Tensor:
    return inputs + severity * usual.deviation * torch.randn(inputs.shape, generator=generator)


def _blur(inputs: Tensor, severity: float, _: Usual, __: torch.Generator) -> Tensor:
    from torchvision.transforms.v2.functional import gaussian_blur  # noqa: PLC0415 - a second

    height, width = inputs.shape[2:]
    sigma = severity * min(height, width)
    # The padding reflected at the edge must be smaller than the image.
    size = [2 * min(ceil(3 * sigma), side - 1) + 1 for side in (width, height)]
    blurred: Tensor = gaussian_blur(inputs, size, [sigma, sigma])
    return blurred


def _contrast(inputs: Tensor, severity: float, _: Usual, __: torch.Generator) -> Tensor:
    own = inputs.mean(tuple(range(2, inputs.ndim)), keepdim=True)
    return own + severity * (inputs - own)


def _raised(inputs: Tensor, severity: float, usual: Usual, _: torch.Generator) -> Tensor:
    return inputs + severity * usual.deviation


def _scaled(inputs: Tensor, severity: float, _: Usual, __: torch.Generator) -> Tensor:
    return severity * inputs


def _moved(inputs: Tensor, severity: float, _: Usual, generator: torch.Generator) -> Tensor:
    for axis in range(2, inputs.ndim):
        size = inputs.shape[axis]
        way = torch.randint(2, (len(inputs), 1), generator=generator) * 2 - 1
        place = torch.arange(size) - way * max(1, round(severity * size))
        place = _along(place.clamp(0, size - 1), axis, inputs.ndim)
        inputs = inputs.gather(axis, place.expand_as(inputs))
    return inputs


def _occluded(inputs: Tensor, severity: float, usual: Usual, generator: torch.Generator) -> Tensor:
    inside = torch.ones(1, dtype=torch.bool)
    for axis in range(2, inputs.ndim):
        size = inputs.shape[axis]
        length = max(1, round(severity * size))
        start = torch.randint(size - length + 1, (len(inputs), 1), generator=generator)
        place = torch.arange(size) - start
        inside = inside & _along((place >= 0) & (place < length), axis, inputs.ndim)
    return torch.where(inside, usual.mean, inputs)


def _missing(inputs: Tensor, severity: float, usual: Usual, generator: torch.Generator) -> Tensor:
    return torch.where(torch.rand(inputs.shape, generator=generator) < severity, usual.mean, inputs)


def _along(values: Tensor, axis: int, ndim: int) -> Tensor:
    """(n, size) with `size` at `axis` of `ndim` dimensions."""
    return values.view(len(values), *(values.shape[1] if at == axis else 1 for at in range(1, ndim)))


CORRUPTIONS: dict[int, dict[Corruption, tuple[Corrupt, tuple[float, ...]]]] = {
    IMAGE: {
        "noise": (_noise, (0.25, 0.5, 1.0)),
        "blur": (_blur, (0.015, 0.03, 0.045)),
        "contrast": (_contrast, (0.6, 0.4, 0.2)),
        "brightness": (_raised, (0.25, 0.5, 1.0)),
        "translation": (_moved, (0.05, 0.1, 0.15)),
        "occlusion": (_occluded, (0.25, 0.4, 0.55)),
    },
    SEQUENCE: {
        "noise": (_noise, (0.25, 0.5, 1.0)),
        "translation": (_moved, (0.05, 0.1, 0.2)),
        "occlusion": (_occluded, (0.1, 0.2, 0.4)),
        "scale": (_scaled, (0.8, 0.6, 0.4)),
    },
    TABLE: {
        "noise": (_noise, (0.1, 0.25, 0.5)),
        "missing": (_missing, (0.1, 0.25, 0.5)),
        "shift": (_raised, (0.1, 0.25, 0.5)),
    },
}
"""Each corruption and its severities, the mildest first, by the kind of samples."""


def robustness(infer: Infer, validation: Samples, context: Context) -> dict[str, float]:
    """Return `robust_accuracy`, the mean over corruptions and severities, and the values it is the mean of.

    `robust_worst` is the corruption that costs most, the mean over its severities; `accuracy_<corruption>`
    each one's. Of a regression it is the RMSE instead of the accuracy.

    Args:
        infer: outputs (n, outputs) of stored inputs (n, *shape).
        validation: what is made worse.
        context: the trial, whose seed decides every draw.
    """
    metric = "accuracy" if context.classes else "rmse"
    usual = Usual(*(one.view(-1, *(1,) * (len(context.shape) - 1)) for one in moments(validation.inputs)))
    labels = validation.labels.cpu().numpy()
    found = {}
    for name, (corrupt, severities) in CORRUPTIONS[len(context.shape)].items():
        values = []
        for step, severity in enumerate(severities):
            generator = context.generator("robustness", name, step)
            parts = [
                infer(stored_like(corrupt(part.float(), severity, usual, generator), part))
                for part in torch.split(validation.inputs, _BATCH)
            ]
            values.append(quality(np.concatenate(parts), labels)[metric])
        found[f"{metric}_{name}"] = float(np.mean(values))
    worst = min if metric in MAXIMISED else max
    return found | {
        f"robust_{metric}": float(np.mean(list(found.values()))),
        "robust_worst": worst(found.values()),
    }
