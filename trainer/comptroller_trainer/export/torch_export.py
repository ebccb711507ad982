"""torch.export: a graph for torch's own compilers and runtimes (AOTInductor, ExecuTorch)."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from comptroller_trainer.export.base import Exporter
from comptroller_trainer.export.onnx import example
from comptroller_trainer.stages.base import Context


class TorchExport(Exporter):
    """`torch_export`: `model.pt2`, its batch dimension free; JSON and raw weights, without a pickle."""

    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        del graph
        path = context.directory / "model.pt2"
        # torch warns that recurrent layers hold their weights twice.
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            program = torch.export.export(
                model, (example(context),), dynamic_shapes=({0: torch.export.Dim("batch")},)
            )
            program.example_inputs = None  # the archive would hold them as a pickle
            torch.export.save(program, path)
        return path

    def read(self, path: Path) -> Callable[[Tensor], Tensor]:
        return torch.export.load(path).module()
