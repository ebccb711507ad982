"""Policies that destroy: noise and erased regions."""

import math
from typing import Self

import torch
from pydantic import Field
from torch import Tensor

from comptroller_trainer.augment.base import Scheduled, ScheduledParameters, stored_like, uniform
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE

_ENOUGH = 10_000
"""Samples that deviations are estimated from."""


class NoiseParameters(ScheduledParameters):
    """`augment.*` of `noise`."""

    magnitude: float = Field(
        0.1, gt=0, le=10, description="Deviation of the noise, in deviations of the channel or feature."
    )


class Noise(Scheduled[NoiseParameters]):
    """`noise`: Gaussian, added to every value on its own (sequences: jitter)."""

    Parameters = NoiseParameters
    name = "noise"

    def fit(self, samples: Samples, context: Context) -> Self:
        values = samples.inputs[:_ENOUGH].float().transpose(0, 1).flatten(1)  # (c, samples * positions)
        self.deviation_ = values.std(1, correction=0).view(-1, *(1,) * (len(context.shape) - 1)).cpu()
        return super().fit(samples, context)

    def transform(self, inputs: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        noise = torch.randn(inputs.shape, generator=generator) * self.deviation_
        noise = noise.to(inputs.device) * (self.parameters.magnitude * strength)
        return stored_like(inputs.float() + noise, inputs)


class ErasingParameters(ScheduledParameters):
    """`augment.*` of `erasing`."""

    probability: float = Field(0.25, gt=0, le=1, description="Share of the samples that lose a region.")
    area: float = Field(0.33, ge=0.02, le=1, description="Greatest share of the sample erased.")


class Erasing(Scheduled[ErasingParameters]):
    """`erasing`: a rectangle set to the batch's mean (Zhong et al., 2020); sequences: a span of steps."""

    Parameters = ErasingParameters
    name = "erasing"
    kinds = (IMAGE, SEQUENCE)

    def transform(self, inputs: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        p, count, axes = self.parameters, len(inputs), inputs.ndim - 2
        inside = uniform(count, inputs, generator) < p.probability * strength
        area = uniform(count, inputs, generator, 0.02, p.area)
        aspect = uniform(count, inputs, generator, -math.log(3.3), math.log(3.3)).exp()
        for axis in range(axes):
            size = inputs.shape[axis + 2]
            ratio = aspect if axis else 1 / aspect
            length = (size * (area * ratio).sqrt() if axes > 1 else size * area).clamp(1, size).round()
            start = (uniform(count, inputs, generator) * (size - length + 1)).floor()
            place = torch.arange(size, device=inputs.device).view(-1, *(1,) * (axes - 1 - axis))
            inside = inside & (place >= start) & (place < start + length)
        dims = (0, *range(2, inputs.ndim))
        mean = stored_like(inputs.float().mean(dims, keepdim=True), inputs)
        return torch.where(inside, mean, inputs)
