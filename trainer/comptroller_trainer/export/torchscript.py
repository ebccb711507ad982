"""TorchScript, which torch has deprecated and which libtorch and mobile runtimes still read."""

import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from comptroller_trainer.export.base import Exporter
from comptroller_trainer.export.onnx import example
from comptroller_trainer.stages.base import Context


class TorchScript(Exporter):
    """`torchscript`: `model.torchscript.pt`, traced."""

    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        del graph
        path = context.directory / "model.torchscript.pt"
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            # `exported` checks on real samples of another size, so torch need not check the traced batch.
            torch.jit.trace(model, (example(context),), check_trace=False).save(path)  # type: ignore[no-untyped-call]
        return path

    def read(self, path: Path) -> Callable[[Tensor], Tensor]:
        with warnings.catch_warnings(action="ignore"):
            return torch.jit.load(path)  # type: ignore[no-any-return,no-untyped-call]
