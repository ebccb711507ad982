"""The interface of compressors, which may change the trained module and the exported graph."""

from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field
from torch import nn

from comptroller_api.metrics import METRICS, ZEROS, Metric
from comptroller_api.trainer import Place
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.measure.gain import Must
from comptroller_trainer.stages.base import Context, P, Parameters, Stage

MUST = "Rule for the artifact against its parent; if broken, the trial is Infeasible. gain: either."


class CompressorParameters(Parameters):
    """`compress.*` of every compressor that takes something away."""

    must: Must = Field("gain", description=MUST)


class Compressor(Stage[P]):
    """Works in two steps, either of which may do nothing.

    Pruning and its like change the module; post-training quantization changes the graph.
    """

    place: ClassVar[Place] = "alone"
    """The compressor's position: parts are first taken out of the module, then the module is fine-tuned, then
    the graph's numbers change.
    """
    channels: ClassVar[bool] = False
    """True if the parts are channels, which not every family's networks can do without."""
    wants: ClassVar[str] = ""
    """The compressor that has to follow, if one has to."""
    needs_parent: ClassVar[bool] = False
    """True if `parent_` must be set before the fit."""
    parent_: nn.Module
    """The model as the trial trained it, in eval mode; not to be changed."""
    model_: nn.Module

    @property
    def must(self) -> Must:
        """The requirement on the artifact, compared with its parent; `anything` if there is no rule."""
        must: Must = getattr(self.parameters, "must", "anything")
        return must

    @property
    def labelled(self) -> str:
        """The parameter by whose value the fit itself reads training labels; empty: it reads none."""
        return ""

    @property
    def measured(self) -> tuple[Metric, ...]:
        """The rows of the metrics that only this compressor reports; their names are not in the table yet."""
        return ()

    @property
    def changes_graph(self) -> bool:
        """True if the shipped graph does not compute what the module does."""
        return type(self).finish is not Compressor.finish

    def check(self, model: nn.Module, context: Context) -> None:
        """Check that the compressor can do something, before anything is spent on training.

        Args:
            model: untrained; not to be changed.
            context: the trial.

        Raises:
            AssignmentError: the compressor does not fit this model or this task.
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
        """Return the ONNX file to ship, given `graph`, the export of `model_`."""
        del context
        return graph

    def metrics(self, graph: Path) -> dict[str, float]:
        """Return the metrics of the ONNX file to ship that only this compressor reports, as in `measured`."""
        del graph
        return {}


def own_metrics(name: str, compressor: Compressor[Any], graph: Path) -> dict[str, float]:
    """Return the metrics of the ONNX file `graph` that only this compressor reports.

    Raises:
        AssignmentError: `compress.method`, which is `name`, reports a metric that is not its own.
    """
    found = compressor.metrics(graph)
    if others := sorted(found.keys() - {row.name for row in compressor.measured if is_own(row)}):
        rule = f"reports {', '.join(others)}, which the compressor's `measured` does not have as its own"
        raise AssignmentError("compress.method", name, rule)
    return found


def is_own(row: Metric) -> bool:
    """Return true if a compressor may measure `row`: another part of the trainer does not."""
    return row.measurer == ZEROS if row.name in METRICS else True
