"""Changes of values that keep places: brightness, contrast and saturation; amplitude."""

import torch
from pydantic import Field
from torch import Tensor

from comptroller_trainer.augment.base import Scheduled, ScheduledParameters, stored_like, uniform
from comptroller_trainer.stages.modality import IMAGE

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma (ITU-R BT.601)."""


class ColourParameters(ScheduledParameters):
    """`augment.*` of `colour`."""

    brightness: float = Field(0.2, ge=0, le=1, description="Factors 1 - x to 1 + x.")
    contrast: float = Field(0.2, ge=0, le=1, description="Factors 1 - x to 1 + x, about the image's mean.")
    saturation: float = Field(0.2, ge=0, le=1, description="Factors 1 - x to 1 + x; three channels only.")


class Colour(Scheduled[ColourParameters]):
    """`colour`: brightness, contrast and saturation of images, in this order, one draw each a sample."""

    Parameters = ColourParameters
    name = "colour"
    kinds = (IMAGE,)

    def transform(self, inputs: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        p = self.parameters
        factors = [
            uniform(len(inputs), inputs, generator, 1 - x * strength, 1 + x * strength)
            for x in (p.brightness, p.contrast, p.saturation)
        ]
        values = inputs.float() * factors[0]
        mean = values.mean((1, 2, 3), keepdim=True)
        values = torch.lerp(mean, values, factors[1])
        if inputs.shape[1] == len(_LUMA):
            luma = torch.tensor(_LUMA, device=inputs.device).view(1, -1, 1, 1)
            values = torch.lerp((values * luma).sum(1, keepdim=True), values, factors[2])
        return stored_like(values, inputs)


class ScaleParameters(ScheduledParameters):
    """`augment.*` of `scale`."""

    magnitude: float = Field(0.1, gt=0, le=1, description="Factors 1 - x to 1 + x.")


class Scale(Scheduled[ScaleParameters]):
    """`scale`: each sample multiplied by a factor of its own (sequences: the amplitude)."""

    Parameters = ScaleParameters
    name = "scale"

    def transform(self, inputs: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        x = self.parameters.magnitude * strength
        return stored_like(inputs.float() * uniform(len(inputs), inputs, generator, 1 - x, 1 + x), inputs)
