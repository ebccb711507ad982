"""Policies that pick operations at random, torchvision's own: TrivialAugment and RandAugment."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Self, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from comptroller_trainer.augment.base import Scheduled, ScheduledParameters
from comptroller_trainer.augment.draws import drawn_from
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.modality import IMAGE

_CHANNELS = frozenset({1, 3})


class AutomaticParameters(ScheduledParameters):
    """`augment.*` of `trivial`."""

    groups: int = Field(
        16, ge=1, le=4096,
        description="Draws a batch: samples of a group are changed alike. More is finer and slower.",
    )  # fmt: skip


A = TypeVar("A", bound=AutomaticParameters)


class Automatic(Scheduled[A]):
    """Draws operations for random groups of the batch: torchvision draws once a call, and a call is slow."""

    Parameters = AutomaticParameters
    kinds = (IMAGE,)

    def fit(self, samples: Samples, context: Context) -> Self:
        super().fit(samples, context)
        if samples.inputs.dtype != torch.uint8 or context.shape[0] not in _CHANNELS:
            raise AssignmentError(
                "augment.policy", self.name,
                f"needs images of bytes with 1 or 3 channels, not {samples.inputs.dtype} of {context.shape}",
            )  # fmt: skip
        return self

    def transform(self, inputs: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        groups = torch.randperm(len(inputs), generator=generator).chunk(self.parameters.groups)
        operation = self.operation(strength)
        changed = torch.empty_like(inputs)
        with drawn_from(generator):
            for group in groups:
                index = group.to(inputs.device)
                changed[index] = operation(inputs[index])
        return changed

    @abstractmethod
    def operation(self, strength: float) -> Callable[[Tensor], Tensor]:
        """Changes images (n, channels, height, width) alike, drawing from torch's global generator."""


class Trivial(Automatic[AutomaticParameters]):
    """`trivial`: one operation of random magnitude (TrivialAugment Wide, Müller and Hutter, 2021).

    A strength below 1 is the share of groups that are changed.
    """

    name = "trivial"

    def operation(self, strength: float) -> Callable[[Tensor], Tensor]:
        from torchvision.transforms import v2  # noqa: PLC0415 - seconds that other policies do not need

        operation: Callable[[Tensor], Tensor] = v2.RandomApply([v2.TrivialAugmentWide()], strength)
        return operation


class RandAugmentParameters(AutomaticParameters):
    """`augment.*` of `randaugment`."""

    operations: int = Field(2, ge=1, le=8, description="Applied one after the other.")
    magnitude: int = Field(9, ge=0, le=30, description="Of each, of 30; what the strength multiplies.")


class RandAugment(Automatic[RandAugmentParameters]):
    """`randaugment`: a few operations of one magnitude (Cubuk et al., 2020)."""

    Parameters = RandAugmentParameters
    name = "randaugment"

    def operation(self, strength: float) -> Callable[[Tensor], Tensor]:
        from torchvision.transforms import v2  # noqa: PLC0415 - seconds that other policies do not need

        p = self.parameters
        operation: Callable[[Tensor], Tensor] = v2.RandAugment(p.operations, round(p.magnitude * strength))
        return operation
