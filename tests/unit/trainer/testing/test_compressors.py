"""The suite of compressors fails for compressors that break a promise."""

import copy
from pathlib import Path
from typing import Any, ClassVar, Self

import onnx
import pytest
import torch
from torch import nn

from comptroller_api.metrics import METRICS, Measurer, Metric
from comptroller_api.trainer import Place
from comptroller_trainer.compression.base import Compressor
from comptroller_trainer.compression.int8 import DynamicInt8
from comptroller_trainer.compression.prune import Prune
from comptroller_trainer.compression.train import Tune, TuneParameters
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.export.onnx import ParityError
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.modality import TABLE
from comptroller_trainer.testing.compressors import CompressorConformance


class Table(Compressor[Any]):
    """A compressor of tables alone, which are the fastest to try."""

    kinds = (TABLE,)
    place: ClassVar[Place] = "parts"


class ChangesWhatItChecks(Table):
    def check(self, model: nn.Module, context: Context) -> None:
        del context
        model.eval()


class RefusesDuringTheFit(Table):
    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        if sum(isinstance(layer, nn.Linear) for layer in model.modules()) < 2:
            raise AssertionError("finds no layer in front of the last")
        return super().fit(model, dataset, context)


class ReadsValidation(Tune):
    kinds = (TABLE,)

    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        self.parameters = TuneParameters(tune_epochs=1 + len(dataset.validation) % 2)
        return super().fit(model, dataset, context)


class WritesToSamples(Table):
    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        dataset.train.inputs.clamp_(max=0.5)
        return super().fit(model, dataset, context)


class ReadsLabels(Table):
    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        with torch.no_grad():
            next(model.parameters()).mul_(1 + dataset.train.labels[0])
        return super().fit(model, dataset, context)


class ChangesItsParent(Table):
    needs_parent = True

    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        self.parent_.requires_grad_(requires_grad=False)
        return super().fit(model, dataset, context)


class NeedsItsParentInSecret(Table):
    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        del model
        return super().fit(copy.deepcopy(self.parent_), dataset, context)


class LeavesTrainingMode(Table):
    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        return super().fit(model.train(), dataset, context)


class AddsAnOutput(Table):
    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        larger = nn.Linear(context.outputs, context.outputs + 1)
        return super().fit(nn.Sequential(model, larger).eval(), dataset, context)


class DrawsFromTheGlobalGenerator(Table):
    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        with torch.no_grad():
            next(model.parameters()).add_(torch.rand(()))
        return super().fit(model, dataset, context)


class OverwritesTheGraph(DynamicInt8):
    kinds = (TABLE,)

    def finish(self, graph: Path, context: Context) -> Path:
        return super().finish(graph, context).replace(graph)


class RenamesTheInput(Table):
    def finish(self, graph: Path, context: Context) -> Path:
        model, path = onnx.load(graph), context.directory / "renamed.onnx"
        onnx.compose.add_prefix_graph(model.graph, "new_", inplace=True)
        onnx.save(model, path)
        return path


class ShipsElsewhere(Table):
    def finish(self, graph: Path, context: Context) -> Path:
        path = context.directory.parent / "shipped.onnx"
        path.write_bytes(graph.read_bytes())
        return path


class HidesWhatItChanges(DynamicInt8):
    kinds = (TABLE,)
    changes_graph = False


class HidesItsMetric(Table):
    def metrics(self, graph: Path) -> dict[str, float]:
        return {"ratio": float(graph.exists())}


class MeasuresForOthers(HidesItsMetric):
    @property
    def measured(self) -> tuple[Metric, ...]:
        return (METRICS["accuracy"],)

    def metrics(self, graph: Path) -> dict[str, float]:
        return {"accuracy": float(graph.exists())}


class ReportsNoNumber(Table):
    @property
    def measured(self) -> tuple[Metric, ...]:
        return (Metric("ratio", Measurer("house:Ratio.metrics", "Ratio", "size"), "0 to 1", "a ratio"),)

    def metrics(self, graph: Path) -> dict[str, float]:
        return {"ratio": float("nan") if graph.exists() else 1.0}


class HidesItsChannels(Prune):
    kinds = (TABLE,)
    channels = False


class OnlySaysChannels(Table):
    channels = True


class StandsAloneWithAParent(Table):
    place = "alone"
    needs_parent = True


def suite(compressor: type[Compressor[Any]]) -> CompressorConformance:
    made: CompressorConformance = type("Suite", (CompressorConformance,), {"compressor": compressor})()
    return made


CHECK, COMPRESSED = (
    "test_the_check_accepts_the_models_and_changes_nothing",
    "test_the_compressed_model_takes_and_gives_the_same_in_eval_mode",
)
GRAPH, CHANNELS, METRIC = (
    "test_the_finished_graph_takes_and_gives_the_same",
    "test_channels_are_removed_where_it_says_so",
    "test_its_metrics_are_its_own_and_finite_numbers",
)


@pytest.mark.parametrize(
    ("compressor", "test", "error"),
    [
        (ChangesWhatItChecks, CHECK, "the check has changed"),
        (RefusesDuringTheFit, "test_a_model_is_refused_by_the_check_or_compressed", "finds no layer"),
        (ReadsValidation, "test_the_fit_reads_the_training_split_only", "a split that is not for training"),
        (WritesToSamples, "test_the_fit_reads_the_training_split_only", "has written to the inputs"),
        (ReadsLabels, "test_labels_are_read_only_where_it_says_so", "other labels, another model"),
        (ChangesItsParent, "test_the_parent_is_not_changed", "changed the parent"),
        (LeavesTrainingMode, COMPRESSED, "in training mode"),
        (AddsAnOutput, COMPRESSED, "gives .1, 4. for 1 samples"),
        (DrawsFromTheGlobalGenerator, "test_the_same_seed_gives_the_same", "the same seed, another model"),
        (OverwritesTheGraph, GRAPH, "changed the file"),
        (RenamesTheInput, GRAPH, "takes and gives .*new_input"),
        (ShipsElsewhere, GRAPH, "is not in"),
        (HidesItsMetric, METRIC, "ratio is not in measured"),
        (MeasuresForOthers, METRIC, "accuracy is not in measured, or another part"),
        (ReportsNoNumber, METRIC, "ratio is nan"),
        (HidesItsChannels, CHANNELS, "channels is false"),
        (OnlySaysChannels, CHANNELS, "channels is true"),
        (StandsAloneWithAParent, "test_its_declarations_agree", "gets no parent"),
    ],
)
def test_a_broken_promise_fails_its_test(
    tmp_path: Path, compressor: type[Compressor[Any]], test: str, error: str
) -> None:
    run = getattr(suite(compressor), test)
    with pytest.raises(AssertionError, match=error):
        run(**{"tmp_path": tmp_path} if "tmp_path" in run.__code__.co_varnames else {})


def test_a_graph_that_differs_from_the_module_is_declared(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="differs from the model"):
        suite(HidesWhatItChanges).test_the_graph_computes_what_the_module_does_unless_it_says_otherwise(
            tmp_path
        )


def test_a_compressor_without_its_parent_cannot_use_one(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="parent_"):
        suite(NeedsItsParentInSecret).test_the_same_seed_gives_the_same(tmp_path)
