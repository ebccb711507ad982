"""Geometric policies, one draw a sample: flips, crops, and small rotations and zooms of images."""

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from comptroller_trainer.augment.base import (
    Augmentation,
    Q,
    Scheduled,
    ScheduledParameters,
    TrainingBatch,
    stored_like,
)
from comptroller_trainer.stages.base import Parameters
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE


class Identity(Augmentation[Parameters]):
    """`none`: inputs as they are."""

    changes = False

    def __call__(self, batch: TrainingBatch, generator: torch.Generator, progress: float) -> TrainingBatch:
        del generator, progress
        return batch


class Flip(Scheduled[Q]):
    """`flip`: half of the samples mirrored left to right (sequences: reversed)."""

    Parameters = ScheduledParameters
    name = "flip"
    kinds = (IMAGE, SEQUENCE)

    def transform(self, inputs: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        mirrored = torch.rand(len(inputs), generator=generator) < 0.5 * strength
        shape = (-1,) + (1,) * (inputs.ndim - 1)
        return torch.where(mirrored.to(inputs.device).view(shape), inputs.flip(-1), inputs)


class CropParameters(ScheduledParameters):
    """`augment.*` of `crop` and `flip_crop`."""

    padding: int = Field(2, ge=1, le=64, description="Positions of zeros on each side before the crop.")


class Crop(Scheduled[CropParameters]):
    """`crop`: the sample padded with zeros, then cropped to its size at a random place."""

    Parameters = CropParameters
    name = "crop"
    kinds = (IMAGE, SEQUENCE)

    def transform(self, inputs: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        padding = self.parameters.padding
        for axis in range(2, inputs.ndim):
            start = torch.randint(2 * padding + 1, (len(inputs), 1), generator=generator)
            start = padding + ((start - padding) * strength).round().long()
            inputs = _cropped(inputs, axis, padding, start.to(inputs.device))
        return inputs


class FlipCrop(Flip[CropParameters]):
    """`flip_crop`: `flip`, then `crop`."""

    Parameters = CropParameters
    name = "flip_crop"

    def transform(self, inputs: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        flipped = super().transform(inputs, generator, strength)
        return Crop(self.parameters).transform(flipped, generator, strength)


def _cropped(inputs: Tensor, axis: int, padding: int, start: Tensor) -> Tensor:
    """Each sample, padded along `axis`, from its own `start`, (n, 1), to its old size."""
    size = inputs.shape[axis]
    widths = [0, 0] * (inputs.ndim - 1 - axis) + [padding, padding]
    padded = functional.pad(inputs, widths)
    place = start + torch.arange(size, device=inputs.device)  # (n, size)
    shape = [len(inputs)] + [1] * (inputs.ndim - 1)
    shape[axis] = size
    return padded.gather(axis, place.view(shape).expand(*inputs.shape))


class AffineParameters(ScheduledParameters):
    """`augment.*` of `affine`."""

    rotation: float = Field(10.0, ge=0, le=180, description="Greatest rotation either way, degrees.")
    zoom: float = Field(0.1, ge=0, lt=1, description="Greatest change of size, as a share of it.")


class Affine(Scheduled[AffineParameters]):
    """`affine`: images rotated and zoomed about their centre, bilinear, zeros moving in."""

    Parameters = AffineParameters
    name = "affine"
    kinds = (IMAGE,)

    def transform(self, inputs: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        p, (height, width) = self.parameters, inputs.shape[2:]
        drawn = torch.rand(2, len(inputs), generator=generator) * 2 - 1
        angle = drawn[0] * math.radians(p.rotation) * strength
        scale = 1 / (1 + drawn[1] * p.zoom * strength)
        sine, cosine, zero = angle.sin() * scale, angle.cos() * scale, torch.zeros(len(inputs))
        # In the grid's units, where each axis runs from -1 to 1: a pixel need not be as wide as high.
        rows = [cosine, sine * height / width, zero, -sine * width / height, cosine, zero]
        theta = torch.stack(rows, 1).view(-1, 2, 3).to(inputs.device)
        grid = functional.affine_grid(theta, list(inputs.shape), align_corners=False)
        moved = functional.grid_sample(inputs.float(), grid, mode="bilinear", align_corners=False)
        return stored_like(moved, inputs)
