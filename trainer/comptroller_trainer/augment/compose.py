"""Several policies one after the other."""

from collections.abc import Iterator
from typing import Any, Self

import torch
from pydantic import Field, ValidationInfo, field_validator

from comptroller_trainer.augment.base import Augmentation, ScheduledParameters, TrainingBatch
from comptroller_trainer.augment.colour import Colour, Scale
from comptroller_trainer.augment.geometric import Affine, Crop, Flip
from comptroller_trainer.augment.mixing import Cutmix, Mixup
from comptroller_trainer.augment.noise import Erasing, Noise
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.stages.base import Context


class ComposeParameters(ScheduledParameters):
    """`augment.*` of `compose`: what is 0 (or false) is left out."""

    flip: bool = Field(default=False, description="As policy `flip`.")
    crop: int = Field(0, ge=0, le=64, description="`padding` of `crop`.")
    rotation: float = Field(0.0, ge=0, le=180, description="`rotation` of `affine`, degrees.")
    zoom: float = Field(0.0, ge=0, lt=1, description="`zoom` of `affine`.")
    colour: float = Field(0.0, ge=0, le=1, description="Brightness, contrast and saturation of `colour`.")
    scale: float = Field(0.0, ge=0, le=1, description="`magnitude` of `scale`.")
    noise: float = Field(0.0, ge=0, le=10, description="`magnitude` of `noise`.")
    erasing: float = Field(0.0, ge=0, le=1, description="`probability` of `erasing`.")
    mixup: float = Field(0.0, ge=0, le=10, description="`alpha` of `mixup`.")
    cutmix: float = Field(0.0, ge=0, le=10, description="`alpha` of `cutmix`; not with mixup.")

    @field_validator("cutmix")
    @classmethod
    def _mixed_once(cls, cutmix: float, info: ValidationInfo) -> float:
        if cutmix and info.data.get("mixup"):
            raise ValueError("contradicts augment.mixup: a sample is mixed once")
        return cutmix

    def steps(self) -> Iterator[tuple[str, Augmentation[Any]]]:
        """Yield the policies that are on, each with the parameter that turned it on.

        Geometry comes first, then colour, noise and mixing. So no rotation smooths noise, erased regions stay
        erased, and targets are mixed only with finished samples.
        """
        chosen: tuple[tuple[str, type[Augmentation[Any]], dict[str, float]], ...] = (
            ("flip", Flip, {}),
            ("crop", Crop, {"padding": self.crop}),
            ("rotation" if self.rotation else "zoom", Affine, {"rotation": self.rotation, "zoom": self.zoom}),
            ("colour", Colour, dict.fromkeys(("brightness", "contrast", "saturation"), self.colour)),
            ("scale", Scale, {"magnitude": self.scale}),
            ("noise", Noise, {"magnitude": self.noise}),
            ("erasing", Erasing, {"probability": self.erasing}),
            ("mixup", Mixup, {"alpha": self.mixup}),
            ("cutmix", Cutmix, {"alpha": self.cutmix}),
        )
        schedule = {"schedule": self.schedule, "off": self.off}
        for name, policy, given in chosen:
            if getattr(self, name):
                yield name, policy(policy.Parameters(**given, **schedule))


class Compose(Augmentation[ComposeParameters]):
    """`compose`: the policies that its parameters turn on, in the taxonomy's order."""

    Parameters = ComposeParameters

    def __init__(self, parameters: ComposeParameters) -> None:
        super().__init__(parameters)
        self._steps = dict(parameters.steps())

    def fit(self, samples: Samples, context: Context) -> Self:
        for name, step in self._steps.items():
            try:
                step.fit(samples, context)
            except AssignmentError as error:
                value = getattr(self.parameters, name)
                raise AssignmentError(f"augment.{name}", value, error.rule) from error
        return self

    def __call__(self, batch: TrainingBatch, generator: torch.Generator, progress: float) -> TrainingBatch:
        for step in self._steps.values():
            batch = step(batch, generator, progress)
        return batch

    def configuration(self) -> dict[str, Any]:
        return super().configuration() | {"steps": [s.configuration() for s in self._steps.values()]}
