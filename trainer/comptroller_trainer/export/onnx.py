"""Finalize: the model as an ONNX graph, and as weights without pickles."""

import warnings
from pathlib import Path

import torch
from torch import nn

from comptroller_trainer.stages.base import Context

INPUT = "input"
OUTPUT = "logits"
_OPSET = 18
_TRACED = 2
"""Samples in the traced batch; one would let the tracer take the batch for a constant."""


class ParityError(Exception):
    """The exported graph does not compute what the module does."""


def export(model: nn.Module, context: Context, name: str = "model.onnx") -> tuple[Path, str]:
    """Return the graph's file, its batch dimension free, and the name of the exporter that made it.

    torch's tracing exporter comes first: it needs 0.2 s where the one over torch.export needs 8 s for its
    imports alone, which every rung of every trial would pay. What it cannot export goes to the other.
    """
    path = context.directory / name
    model = model.eval().cpu()
    traced = example(context)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # deprecated in favour of the slow one, by parity as good
        try:
            torch.onnx.export(
                model, (traced,), path, dynamo=False, input_names=[INPUT], output_names=[OUTPUT],
                dynamic_axes={INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}, opset_version=_OPSET,
            )  # fmt: skip
            exporter = "torchscript"
        except (torch.onnx.errors.OnnxExporterError, RuntimeError):
            torch.onnx.export(
                model, (traced,), path, dynamo=True, input_names=[INPUT], output_names=[OUTPUT],
                dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False, verbose=False,
            )  # fmt: skip
            exporter = "torch.export"
    return path, exporter


def example(context: Context) -> torch.Tensor:
    """Return a batch of noise to trace a model with."""
    return torch.rand(_TRACED, *context.shape)


def check_parity(model: nn.Module, graph: Path, samples: torch.Tensor) -> None:
    """Compare the graph's logits with the module's on `samples`, a batch of another size than the traced one.

    Raises:
        ParityError: they differ by more than rounding.
    """
    inputs = samples.float().cpu()
    with torch.no_grad():
        expected = model.eval().cpu()(inputs)
    check_close(computed(graph, inputs), expected, "graph")


def computed(graph: Path, inputs: torch.Tensor) -> torch.Tensor:
    """Return the graph's outputs, by ONNX Runtime, for `inputs`, float32 (n, *shape)."""
    from comptroller_trainer.measure.session import open_session  # noqa: PLC0415 - ONNX Runtime

    (found,) = open_session(graph, "CPU", 1).run(None, {INPUT: inputs.numpy()})
    return torch.from_numpy(found)


def check_close(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    """Check that two models' logits, (n, outputs), differ by at most 1e-3 of the largest.

    Raises:
        ParityError: they are further apart, or not of one shape.
    """
    if found.shape != expected.shape:
        raise ParityError(
            f"the exported {what} gives {tuple(found.shape)}, the model {tuple(expected.shape)}"
        )
    scale = max(1.0, expected.abs().max().item())
    worst = (found - expected).abs().max().item() / scale
    if not worst < 1e-3:  # noqa: PLR2004 - not a number is no parity either
        raise ParityError(f"the exported {what} differs from the model by {worst:.2g} of the largest logit")
