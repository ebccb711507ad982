"""The base of stages that are found by name: typed parameters, and the trial around the stage."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from comptroller_trainer import seeds
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, TABLE

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from comptroller_trainer.data.samples import Dataset
    from comptroller_trainer.stages.soft_targets import SoftTargets

Make = Callable[[], "dict[str, Tensor]"]
Keep = Callable[[str, Make], "dict[str, Tensor]"]
FineTune = Callable[["nn.Module", "Dataset", int, float, "SoftTargets | None"], "nn.Module"]


class Parameters(BaseModel):
    """Base of a stage's parameters: each field is `<lever>.<field>` in the search space.

    Give each field a default, bounds and a description: the reference table is made from them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _only(cls, value: Any, info: ValidationInfo) -> Any:
        extra = cls.model_fields[str(info.field_name)].json_schema_extra
        if isinstance(extra, dict) and value != extra.get("only", value):
            raise ValueError(extra["otherwise"])
        return value


def only(value: bool | float, otherwise: str) -> dict[str, Any]:
    """Return a field's `json_schema_extra` that allows one value, with the reason."""
    return {"only": value, "otherwise": otherwise}


P = TypeVar("P", bound=Parameters)


class Stage(Generic[P]):
    """Base of what an entry point names.

    A subclass sets `Parameters` to its own class of parameters. As in scikit-learn, what is learned by
    `fit` has a trailing underscore.
    """

    Parameters: Any = Parameters  # a subclass's is narrower, which a typed class variable could not say
    kinds: ClassVar[tuple[int, ...]] = (IMAGE, SEQUENCE, TABLE)
    """Dimensions of the samples that the stage has a meaning for."""
    classifies: ClassVar[bool] = False
    """True if the stage needs classes, so that regression is refused."""

    def __init__(self, parameters: P) -> None:
        self.parameters = parameters


def _uncached(_name: str, make: Make) -> "dict[str, Tensor]":
    return make()


def _untuned(*_: object) -> "nn.Module":
    raise TypeError("there is no training loop around this stage")


@dataclass(frozen=True, slots=True)
class Context:
    """The trial around a stage."""

    seed: int
    total_epochs: int
    classes: int
    """0: a regression."""
    shape: tuple[int, ...]
    """Shape of one sample: (channels, height, width), (channels, length) or (features,)."""
    device: "torch.device"
    directory: Path
    """Scratch space; gone when the attempt ends."""
    keep: Keep = _uncached
    """The function behind `remember`; without a store, everything is computed again."""
    fine_tune: FineTune = _untuned
    """The function behind `tune`."""

    @property
    def outputs(self) -> int:
        """The number of the model's outputs for each sample: a logit a class, or one number."""
        return self.classes or 1

    def generator(self, *place: str | int) -> "torch.Generator":
        """Return a generator that depends on the trial's seed and on `place` alone."""
        return seeds.generator(self.seed, *place)

    def remember(self, name: str, make: Make) -> "dict[str, Tensor]":
        """Return the tensors of `make`, computed once in this trial: later attempts read the stored ones.

        Args:
            name: the tensors' name; letters, digits, `-` and `_`.
            make: a function of the trial's seed, data and parameters alone.
        """
        return self.keep(name, make)

    def tune(
        self, model: "nn.Module", dataset: "Dataset", epochs: int, rate: float, soft: "SoftTargets | None"
    ) -> "nn.Module":
        """Return `model` fine-tuned as the trial's recipe trains, in eval mode.

        Tuning may stop at any step, and a later attempt continues from there.

        Args:
            model: changed in place.
            dataset: the trial's.
            epochs: of the selected samples.
            rate: the peak learning rate, as a share of the recipe's; it falls as a cosine.
            soft: a teacher's part of the loss, if there is one.
        """
        return self.fine_tune(model, dataset, epochs, rate, soft)
