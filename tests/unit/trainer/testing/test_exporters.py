"""The suite of exporters fails for exporters that break a promise."""

import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.export.base import Exporter
from comptroller_trainer.export.onnx import ParityError, computed, example
from comptroller_trainer.export.torchscript import TorchScript
from comptroller_trainer.stages.base import Context
from comptroller_trainer.testing.exporters import ExporterConformance


class Copied(Exporter):
    """A copy of the graph; the broken exporters differ from it in one thing."""

    holds_graph = True

    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        del model
        path = context.directory / "copy.onnx"
        path.write_bytes(graph.read_bytes())
        return path

    def read(self, path: Path) -> Callable[[Tensor], Tensor]:
        return partial(computed, path)


class CannotWorkHere(Copied):
    def check(self) -> None:
        raise AssignmentError("recipe.exports", "copied", "needs a library that this image lacks")


class ComputesSomethingElse(Copied):
    def read(self, path: Path) -> Callable[[Tensor], Tensor]:
        return lambda inputs: computed(path, inputs) + 0.01


class TakesTheTracedBatchAlone(TorchScript):
    def read(self, path: Path) -> Callable[[Tensor], Tensor]:
        function = super().read(path)
        return lambda inputs: function(inputs.expand(2, *inputs.shape[1:]))


class SaysModuleAndHoldsTheGraph(Copied):
    holds_graph = False


class SaysGraphAndHoldsTheModule(TorchScript):
    holds_graph = True


class WritesOutside(Copied):
    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        return super().write(model, graph, context).rename(context.directory.parent / "copy.onnx")


class LeavesMoreOutside(Copied):
    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        (context.directory.parent / "log.txt").write_text("written")
        return super().write(model, graph, context)


class ShipsTheGraphAgain(Copied):
    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        del model, context
        return graph


class ChangesTheModule(TorchScript):
    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        with torch.no_grad():
            next(model.parameters()).zero_()
        return super().write(model, graph, context)


class ChangesTheGraph(Copied):
    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        path = super().write(model, graph, context)
        graph.write_bytes(b"")
        return path


class NeedsTheOldPlace(Copied):
    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        del model
        path = context.directory / "link.txt"
        path.write_text(str(graph))
        return path

    def read(self, path: Path) -> Callable[[Tensor], Tensor]:
        return partial(computed, Path(path.read_text()))


class Pickled(Copied):
    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        del model
        path = context.directory / "model.bin"
        path.write_bytes(pickle.dumps(graph.read_bytes()))
        return path


class PickledInAnArchive(Copied):
    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        del graph
        path = context.directory / "model.pt2"
        program = torch.export.export(model, (example(context),))
        torch.export.save(program, path)
        return path


READ, HOLDS = "test_what_is_read_again_computes_the_same", "test_it_holds_the_graph_or_the_module_as_it_says"
NEW = "test_what_is_written_is_new_and_in_the_directory_of_the_trial"
UNCHANGED = "test_the_module_and_the_graph_are_not_changed"
PICKLES = "test_it_writes_no_pickle_unless_it_says_so"


@pytest.mark.parametrize(
    ("exporter", "test", "kind", "message"),
    [
        (CannotWorkHere, "test_it_can_work_here", AssignmentError, "lacks"),
        (ComputesSomethingElse, READ, ParityError, "differs from the model by 0.01"),
        (TakesTheTracedBatchAlone, READ, ParityError, "gives .2, 3., the model .1, 3."),
        (SaysModuleAndHoldsTheGraph, HOLDS, ParityError, "differs from the model"),
        (SaysGraphAndHoldsTheModule, HOLDS, ParityError, "differs from the model"),
        (WritesOutside, NEW, AssertionError, "is not in"),
        (LeavesMoreOutside, NEW, AssertionError, "files outside .*log.txt"),
        (ShipsTheGraphAgain, NEW, AssertionError, "was there before"),
        (ChangesTheModule, UNCHANGED, AssertionError, "the module was changed"),
        (ChangesTheGraph, UNCHANGED, AssertionError, "the graph was changed"),
        (NeedsTheOldPlace, "test_what_is_written_can_be_moved", Exception, "model.onnx"),
        (Pickled, PICKLES, AssertionError, "model.bin"),
        (PickledInAnArchive, PICKLES, AssertionError, "sample_inputs"),
    ],
)
def test_a_broken_promise_fails_its_test(
    tmp_path: Path, exporter: type[Exporter], test: str, kind: type[Exception], message: str
) -> None:
    run: Any = getattr(type("Suite", (ExporterConformance,), {"exporter": exporter})(), test)
    with pytest.raises(kind, match=message):
        run(**{"tmp_path": tmp_path} if "tmp_path" in run.__code__.co_varnames else {})
