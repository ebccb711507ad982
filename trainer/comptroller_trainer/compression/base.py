"""What a compressor is: it may change the trained module, and it may change the exported graph."""

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field
from torch import nn

from comptroller_api.trainer import Place
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.measure.beside import Must
from comptroller_trainer.stages.base import Context, P, Parameters, Stage

MUST = "What the artifact has to be beside its parent, or the trial is Infeasible. gain: either."


class CompressorParameters(Parameters):
    """`compress.*` of every compressor that takes something away."""

    must: Must = Field("gain", description=MUST)


class Compressor(Stage[P]):
    """Works in two steps, either of which may do nothing.

    Pruning and its like change the module; post-training quantization changes the graph.
    """

    place: ClassVar[Place] = "alone"
    """What it works on: parts are taken out of the module first, it is trained further next, then the graph's
    numbers change.
    """
    channels: ClassVar[bool] = False
    """Whether the parts are channels, which not every family's networks can do without."""
    wants: ClassVar[str] = ""
    """The compressor that has to follow, if one has to."""
    needs_parent: ClassVar[bool] = False
    """Whether `parent_` is to be set before the fit."""
    parent_: nn.Module
    """The model as the trial trained it, in eval mode; not to be changed."""
    model_: nn.Module

    @property
    def must(self) -> Must:
        """What the artifact has to be beside its parent; a compressor that says nothing leaves it open."""
        must: Must = getattr(self.parameters, "must", "anything")
        return must

    @property
    def labelled(self) -> str:
        """The parameter by whose value the fit itself reads training labels; empty: it reads none."""
        return ""

    @property
    def changes_graph(self) -> bool:
        """Whether what is shipped is no longer what the module computes."""
        return type(self).finish is not Compressor.finish

    def check(self, model: nn.Module, context: Context) -> None:
        """Whether there will be something to do, before anything is spent on training.

        Args:
            model: untrained; not to be changed.
            context: the trial.

        Raises:
            AssignmentError: this model, or this task, is not one for it.
        """
        del model, context

    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        """Learn from the training split, and leave the module to export in `model_`.

        Args:
            model: trained, in eval mode; may be changed in place.
            dataset: calibration and fine-tuning use its training split only.
            context: the trial.
        """
        del dataset, context
        self.model_ = model
        return self

    def finish(self, graph: Path, context: Context) -> Path:
        """The ONNX file to ship, given `graph`, the export of `model_`."""
        del context
        return graph

    def metrics(self, graph: Path) -> dict[str, float]:
        """What the report says of the ONNX file to ship, beside what it says of all."""
        del graph
        return {}
