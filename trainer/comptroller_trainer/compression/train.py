"""Fine-tune the changed model, on the labels or towards a teacher."""

import copy
from typing import Literal, Self

from pydantic import Field
from torch import nn

from comptroller_trainer.compression.base import MUST, Compressor
from comptroller_trainer.compression.teacher import ONNX, fetched
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.measure.gain import Must
from comptroller_trainer.stages.base import Context, Parameters
from comptroller_trainer.stages.soft_targets import SoftTargets


class TuneParameters(Parameters):
    """`compress.*` of `tune`."""

    must: Must = Field("anything", description=MUST)
    tune_epochs: int = Field(2, ge=1, le=10_000, description="Epochs of training further.")
    tune_rate: float = Field(
        0.2, gt=0, le=1, description="Its peak learning rate, as a share of recipe.lr; it falls as a cosine."
    )


class Tune(Compressor[TuneParameters]):
    """`tune`: fine-tunes on the labels, as the recipe trained before."""

    Parameters = TuneParameters
    place = "training"

    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        p = self.parameters
        self.model_ = context.tune(model, dataset, p.tune_epochs, p.tune_rate, None)
        return self


class DistilParameters(TuneParameters):
    """`compress.*` of `kd`."""

    alpha: float = Field(
        0.9, gt=0, le=1, description="Share of the loss that is the teacher's; the rest is the labels'."
    )
    temperature: float = Field(
        4.0, gt=0, le=100, description="What logits are divided by before they are compared."
    )
    match: Literal["logits", "features"] = Field(
        "logits",
        description="What is compared: outputs, or the distances between samples in front of the last layer.",
    )
    teacher: str = Field(
        "", max_length=1024,
        description="Address of another trial's rung or of an .onnx file that gives logits, s3:// or file:///;"
        " empty: this trial's own model.",
    )  # fmt: skip
    teacher_sha256: str = Field(
        "", pattern="^([0-9a-f]{64})?$",
        description="Of the teacher's model.safetensors or .onnx file; empty: not checked.",
    )  # fmt: skip


class Distil(Compressor[DistilParameters]):
    """`kd`: fine-tunes towards a teacher's outputs (Hinton et al., 2015) or distances (Park et al., 2019).

    Without another teacher, the teacher is the model before it was pruned; if nothing was taken out, that is
    self-distillation (Furlanello et al., 2018).
    """

    Parameters = DistilParameters
    place = "training"
    classifies = True
    needs_parent = True

    def check(self, model: nn.Module, context: Context) -> None:
        del model
        p = self.parameters
        if p.match == "features" and p.teacher.endswith(ONNX):
            raise AssignmentError("compress.match", p.match, "needs a teacher with layers, not an ONNX file")
        if p.teacher:
            fetched(p.teacher, p.teacher_sha256, context)

    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        p = self.parameters
        teacher = fetched(p.teacher, p.teacher_sha256, context) if p.teacher else copy.deepcopy(self.parent_)
        teacher.to(context.device).eval().requires_grad_(requires_grad=False)
        soft = SoftTargets(teacher, p.alpha, p.temperature, features=p.match == "features")
        self.model_ = context.tune(model, dataset, p.tune_epochs, p.tune_rate, soft)
        return self
