"""Run the exporters that a trial names, and compare each form with the model."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from comptroller_trainer.errors import AssignmentError, out_of_memory
from comptroller_trainer.export.base import Exporter
from comptroller_trainer.export.onnx import check_close, computed
from comptroller_trainer.stages.base import Context


def exported(
    exporters: Mapping[str, Exporter], model: nn.Module, graph: Path, inputs: Tensor, context: Context
) -> list[Path]:
    """Return the files that the exporters wrote, each compared with the module or the shipped graph.

    Args:
        exporters: by name.
        model: the shipped model as a module; set to eval mode on the CPU.
        graph: the shipped model as an ONNX file.
        inputs: (n, *shape), real samples, of another number than were traced.
        context: the trial.

    Raises:
        AssignmentError: an exporter cannot write this model, or its form computes something else.
    """
    model, inputs = model.eval().cpu(), inputs.float().cpu()
    files: list[Path] = []
    for name, exporter in exporters.items():
        try:
            path = exporter.write(model, graph, context)
            with torch.no_grad():
                expected = computed(graph, inputs) if exporter.holds_graph else model(inputs)
                check_close(exporter.read(path)(inputs), expected, "model")
        except Exception as error:
            if out_of_memory(error) or isinstance(error, OSError):
                raise
            # Any other error would come again, and each attempt costs money.
            reason = str(error).strip().partition("\n")[0]
            raise AssignmentError(
                "recipe.exports", name, f"does not fit the model: {type(error).__name__}: {reason}"
            ) from error
        files += [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return files
