"""The interface of augmentation policies."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, ClassVar, Literal, Self, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.stages.base import Context, P, Parameters, Stage
from comptroller_trainer.stages.modality import require


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """One training batch."""

    inputs: Tensor
    """(n, *shape), uint8 or float32."""
    targets: Tensor
    """(n,) int64; (n,) float32 for regression; (n, classes) float32 once mixed, each row a distribution."""


class Augmentation(Stage[P]):
    """Changes one training batch at a time."""

    changes: ClassVar[bool] = True
    """True if the policy does anything."""

    def fit(self, samples: Samples, context: Context) -> Self:
        """Learn from the training split, if there is anything to learn.

        Raises:
            AssignmentError: the policy has no meaning for samples of this shape.
        """
        del samples, context
        return self

    @abstractmethod
    def __call__(self, batch: TrainingBatch, generator: torch.Generator, progress: float) -> TrainingBatch:
        """The batch, changed.

        Args:
            batch: on the trial's device; not to be written to.
            generator: on the CPU, for this step alone; every draw comes from it.
            progress: share of the last rung's epochs that is behind, 0 to 1.
        """

    def configuration(self) -> dict[str, Any]:
        """Return all that decides what the policy does, as JSON types, to store with the checkpoint."""
        kind = type(self)
        return {
            "policy": f"{kind.__module__}:{kind.__qualname__}",
            "parameters": self.parameters.model_dump(mode="json"),
            "libraries": {name: version(name) for name in ("torch", "torchvision")},
        }


class ScheduledParameters(Parameters):
    """`augment.*` of every policy that has a strength."""

    schedule: Literal["constant", "ramp"] = Field(
        "constant", description="ramp: the strength grows linearly from 0."
    )
    off: float = Field(0.0, ge=0, le=1, description="Last share of training without augmentation, 0 to 1.")

    def strength(self, progress: float) -> float:
        """Return the factor of magnitudes, 0 to 1, when the share `progress` of training is behind."""
        share = 1 - self.off
        if progress >= share and self.off:
            return 0.0
        return min(1.0, progress / share) if self.schedule == "ramp" else 1.0


Q = TypeVar("Q", bound=ScheduledParameters)


class Scheduled(Augmentation[Q]):
    """A policy whose strength follows the training's progress."""

    name: str
    """The policy's name."""

    def fit(self, samples: Samples, context: Context) -> Self:
        require("augment.policy", self.name, context.shape, *self.kinds)
        return super().fit(samples, context)

    def __call__(self, batch: TrainingBatch, generator: torch.Generator, progress: float) -> TrainingBatch:
        strength = self.parameters.strength(progress)
        return self.apply(batch, generator, strength) if strength else batch

    def apply(self, batch: TrainingBatch, generator: torch.Generator, strength: float) -> TrainingBatch:
        """Return the batch, changed with `strength`, more than 0 and at most 1."""
        return replace(batch, inputs=self.transform(batch.inputs, generator, strength))

    def transform(self, inputs: Tensor, generator: torch.Generator, strength: float) -> Tensor:
        """Return the changed inputs; for policies that keep the targets."""
        raise NotImplementedError


def stored_like(values: Tensor, inputs: Tensor) -> Tensor:
    """Return float `values` in the type of `inputs`: bytes are rounded and clamped to 0 to 255."""
    return values.round().clamp(0, 255).to(torch.uint8) if inputs.dtype == torch.uint8 else values


def uniform(
    count: int, like: Tensor, generator: torch.Generator, low: float = 0.0, high: float = 1.0
) -> Tensor:
    """Return one draw a sample, float32, on the device of `like` and shaped to broadcast over it."""
    drawn = torch.rand(count, generator=generator) * (high - low) + low
    return drawn.to(like.device).view(-1, *(1,) * (like.ndim - 1))
