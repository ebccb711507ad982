"""An MLflow model around the ONNX file, for MLflow's servers and registries."""

import os
import warnings
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.export.base import Exporter
from comptroller_trainer.export.onnx import OUTPUT
from comptroller_trainer.stages.base import Context


class MlflowModel(Exporter):
    """`mlflow`: the directory `mlflow/`, which `mlflow models serve` takes from where it is stored.

    Its input example is a sample of zeros: nobody's data leave with the model.
    """

    holds_graph = True

    def check(self) -> None:
        if find_spec("mlflow") is None:
            raise AssignmentError(
                "recipe.exports", "mlflow", "needs comptroller-trainer[mlflow], which this image lacks"
            )

    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        del model
        import onnx  # noqa: PLC0415 - a second that other exporters do not need

        mlflow = _mlflow()
        path = context.directory / "mlflow"
        tensor, schema = mlflow.types.TensorSpec, mlflow.types.Schema
        kind = np.dtype(np.float32)
        mlflow.onnx.save_model(
            onnx.load(graph),
            path,
            signature=mlflow.models.ModelSignature(
                schema([tensor(kind, (-1, *context.shape))]),
                schema([tensor(kind, (-1, context.outputs), OUTPUT)]),
            ),
            input_example=np.zeros((1, *context.shape), kind),
            pip_requirements=[f"{name}=={version(name)}" for name in ("numpy", "onnx", "onnxruntime")],
            onnx_execution_providers=["CPUExecutionProvider"],
            save_as_external_data=False,
        )
        return path

    def read(self, path: Path) -> Callable[[Tensor], Tensor]:
        served = _mlflow().pyfunc.load_model(str(path))
        return lambda inputs: torch.from_numpy(served.predict(inputs.numpy())[OUTPUT])


def _mlflow() -> Any:
    """Return the library, which takes seconds to import, with its telemetry switched off."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with warnings.catch_warnings(action="ignore"):  # of type hints in its own code
        import mlflow.onnx  # noqa: PLC0415 - seconds, and an extra
        import mlflow.pyfunc.model  # noqa: PLC0415 - seconds, and an extra
        import mlflow.types  # noqa: PLC0415 - seconds, and an extra

    return mlflow
