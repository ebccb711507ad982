"""Mixing policies: each sample with another of its batch, and their targets alike."""

from abc import abstractmethod
from typing import Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from comptroller_trainer.augment.base import (
    Scheduled,
    ScheduledParameters,
    TrainingBatch,
    stored_like,
    uniform,
)
from comptroller_trainer.augment.draws import beta
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE


class MixingParameters(ScheduledParameters):
    """`augment.*` of `mixup` and `cutmix`."""

    alpha: float = Field(0.2, gt=0, le=10, description="Both parameters of the beta distribution of shares.")
    probability: float = Field(1.0, gt=0, le=1, description="Share of the samples that are mixed.")


class Mixing(Scheduled[MixingParameters]):
    """Keeps a share of each sample, and takes the rest from the one that a permutation puts in its place."""

    Parameters = MixingParameters

    def fit(self, samples: Samples, context: Context) -> Self:
        self.classes_ = context.classes
        return super().fit(samples, context)

    def apply(self, batch: TrainingBatch, generator: torch.Generator, strength: float) -> TrainingBatch:
        inputs, count, p = batch.inputs, len(batch.inputs), self.parameters
        partner = torch.randperm(count, generator=generator).to(inputs.device)
        kept = beta(p.alpha, count, generator).to(inputs.device)
        mixed = uniform(count, inputs, generator).flatten() < p.probability * strength
        inputs, kept = self.mix(inputs, inputs[partner], torch.where(mixed, kept, 1.0), generator)
        targets = self._soft(batch.targets)
        share = kept.view(-1, *(1,) * (targets.ndim - 1))
        return TrainingBatch(inputs, torch.lerp(targets[partner], targets, share))

    @abstractmethod
    def mix(
        self, inputs: Tensor, others: Tensor, kept: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the mixed inputs, and each one's share (n,) of its own sample; `kept` is intended."""

    def _soft(self, targets: Tensor) -> Tensor:
        """Return the targets as float32: (n, classes), or (n,) for regression."""
        if self.classes_ and targets.ndim == 1:
            return functional.one_hot(targets, self.classes_).float()
        return targets


class Mixup(Mixing):
    """`mixup`: convex combinations, one share a sample (Zhang et al., 2018)."""

    name = "mixup"

    def mix(
        self, inputs: Tensor, others: Tensor, kept: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        del generator
        share = kept.view(-1, *(1,) * (inputs.ndim - 1))
        return stored_like(torch.lerp(others.float(), inputs.float(), share), inputs), kept


class CutmixParameters(MixingParameters):
    """`augment.*` of `cutmix`."""

    alpha: float = Field(1.0, gt=0, le=10, description="Both parameters of the beta distribution of shares.")


class Cutmix(Mixing):
    """`cutmix`: a rectangle (sequences: a span) of another sample (Yun et al., 2019)."""

    Parameters = CutmixParameters
    name = "cutmix"
    kinds = (IMAGE, SEQUENCE)

    def mix(
        self, inputs: Tensor, others: Tensor, kept: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        axes = inputs.ndim - 2
        side = (1 - kept).pow(1 / axes)  # of the rectangle, as a share of the sample's
        inside = torch.ones_like(inputs[:, :1], dtype=torch.bool)
        for axis in range(axes):
            size = inputs.shape[axis + 2]
            length = (side * size).round().view(-1, *(1,) * (axes + 1))
            start = (uniform(len(inputs), inputs, generator) * (size - length + 1)).floor()
            place = torch.arange(size, device=inputs.device).view(-1, *(1,) * (axes - 1 - axis))
            inside = inside & (place >= start) & (place < start + length)
        return torch.where(inside, others, inputs), 1 - inside.flatten(1).float().mean(1)
