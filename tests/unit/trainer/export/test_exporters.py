"""Exporters: what they write is read again and computes the same, and holds what it says it does."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from comptroller_api.contract import Report
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.export.base import Exporter
from comptroller_trainer.export.mlflow_model import MlflowModel
from comptroller_trainer.export.onnx import computed, export
from comptroller_trainer.export.several import exported
from comptroller_trainer.export.torchscript import TorchScript
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.stages.base import Context
from comptroller_trainer.testing.models import SHAPES, samples, untrained

Attempt = Callable[..., Report]
TINY = {"model.width": "4", "model.depth": "1"}
DIMENSIONS = {"mlp": 1, "cnn": 3}
"""The number of dimensions of each family's samples."""


def made(family: str, directory: Path) -> tuple[nn.Module, Path, Context]:
    """A model, its graph, and its trial."""
    shape = SHAPES[DIMENSIONS[family]]
    context = Context(0, 1, 3, shape, torch.device("cpu"), directory)
    model = untrained(parse({"model.family": family} | TINY).family, shape, 3)
    graph, _ = export(model, context)
    return model.eval(), graph, context


def test_the_mlflow_model_is_the_shipped_graph_with_what_serving_needs(tmp_path: Path) -> None:
    model, graph, context = made("cnn", tmp_path)
    path = MlflowModel().write(model, graph, context)
    assert onnx.load(path / "model.onnx") == onnx.load(graph)
    import mlflow.models  # noqa: PLC0415 - a first time elsewhere, it warns of itself

    described = mlflow.models.Model.load(str(path))
    assert {"onnx", "python_function"} <= set(described.flavors)
    (taken,) = described.signature.inputs.inputs
    assert (taken.type, taken.shape) == (np.dtype(np.float32), (-1, *context.shape))
    example = np.array(json.loads((path / "serving_input_example.json").read_text())["inputs"])
    assert example.shape == (1, *context.shape)
    assert not example.any()
    pinned = (path / "requirements.txt").read_text()
    assert "onnxruntime==" in pinned
    assert "torch" not in pinned
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


class Wrong(Exporter):
    """An exporter whose form gives other outputs, by `change`."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        self._change = change

    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        del context
        self._model = model
        return graph

    def read(self, path: Path) -> Callable[[Tensor], Tensor]:
        del path
        return lambda inputs: self._change(self._model(inputs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda outputs: outputs + 0.01 * max(1, outputs.abs().max()), "differs from the model by 0.01"),
        (lambda outputs: outputs * torch.nan, "differs from the model by nan"),
        (lambda outputs: outputs[:, :1], "gives (7, 1), the model (7, 3)"),
        (lambda outputs: outputs.reshape(2, 2), "RuntimeError"),
    ],
)
def test_a_form_that_is_not_the_model_ends_the_attempt(
    tmp_path: Path, change: Callable[[Tensor], Tensor], message: str
) -> None:
    model, graph, context = made("mlp", tmp_path)
    with pytest.raises(AssignmentError) as caught:
        exported({"wrong": Wrong(change)}, model, graph, samples(context.shape, 3).inputs[:7], context)
    assert str(caught.value).startswith("recipe.exports: 'wrong' does not fit the model: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"recipe.exports": "coreml"}, "'coreml' is not known; known: mlflow, torch_export, torchscript"),
        ({"recipe.exports": "torchscript+"}, "'' is not known"),
        ({"recipe.exports": "mlflow+none"}, "'none' is not known"),
        ({"recipe.exports": "mlflow+mlflow"}, "must name each once"),
        *(
            (
                {"recipe.exports": f"mlflow+{name}", "compress.method": method},
                f"'{name}' holds the module, not the graph that compress.method '{method}' changes",
            )
            for name in ("torch_export", "torchscript")
            for method in ("int8_dynamic", "prune+int8_static")
        ),
    ],
)
def test_what_cannot_be_exported_is_refused_before_data_are_read(
    parameters: dict[str, str], message: str
) -> None:
    with pytest.raises(AssignmentError) as caught:
        parse(parameters)
    assert caught.value.field == "recipe.exports"
    assert message in str(caught.value)


def test_an_image_without_mlflow_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # as if it were not installed
    with pytest.raises(
        AssignmentError, match=r"recipe.exports: 'mlflow' needs comptroller-trainer\[mlflow\]"
    ):
        parse({"recipe.exports": "mlflow"})


@pytest.mark.parametrize(
    "parameters",
    [
        {"compress.method": "prune", "recipe.exports": "torchscript+mlflow", "compress.must": "anything"},
        {"compress.method": "int8_dynamic", "recipe.exports": "mlflow", "compress.must": "anything"},
    ],
)
@pytest.mark.usefixtures("unserved")
def test_a_trial_ships_the_forms_it_was_asked_for(attempt: Attempt, parameters: dict[str, str]) -> None:
    report = attempt({"model.width": "16"} | parameters, epochs=1)
    assert [stage.name for stage in report.stages][-3:] == ["measure", "export", "report"]
    files: dict[str, Path] = {a.name: Path(a.uri.removeprefix("file://")) for a in report.artifacts}
    inputs = torch.randint(0, 256, (5, 1, 12, 12)).float()
    expected: Any = computed(files["model.onnx"], inputs)
    assert torch.equal(MlflowModel().read(files["mlflow/MLmodel"].parent)(inputs), expected)
    if "torchscript" in parameters["recipe.exports"]:
        found = TorchScript().read(files["model.torchscript.pt"])(inputs)
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-3)
    card = files["card.md"].read_text()
    assert all(files[name].as_uri() in card for name in files if name != "card.md")
