"""Post-training quantization to int8 with ONNX Runtime."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from comptroller_trainer.compression.base import Compressor, CompressorParameters
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.export.onnx import INPUT
from comptroller_trainer.stages.base import Context

_LAYERS = frozenset({"Conv", "Gemm", "MatMul"})


class DynamicInt8(Compressor[CompressorParameters]):
    """`int8_dynamic`: weights to int8 once, activations again in each call."""

    Parameters = CompressorParameters
    place = "numbers"

    def finish(self, graph: Path, context: Context) -> Path:
        from onnxruntime import quantization  # noqa: PLC0415 - a second that other methods do not need

        target = context.directory / "model.int8.onnx"
        with _quiet():
            # Unsigned weights: the CPU's integer convolution takes no others.
            quantization.quantize_dynamic(
                _prepared(graph, context), target, weight_type=quantization.QuantType.QUInt8
            )
        return target


class StaticInt8Parameters(CompressorParameters):
    """`compress.*` of `int8_static`."""

    calibration: int = Field(512, ge=1, le=100_000, description="Training samples that the ranges come from.")


class StaticInt8(Compressor[StaticInt8Parameters]):
    """`int8_static`: weights and activations to int8, their ranges from a sample of the training split."""

    Parameters = StaticInt8Parameters
    place = "numbers"

    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        order = torch.randperm(len(dataset.train), generator=context.generator("calibrate"))
        chosen = dataset.train.inputs[order[: self.parameters.calibration].to(dataset.train.inputs.device)]
        self.samples_: NDArray[np.float32] = chosen.float().cpu().numpy()
        self.model_ = model
        return self

    def finish(self, graph: Path, context: Context) -> Path:
        from onnxruntime import quantization  # noqa: PLC0415 - a second that other methods do not need

        target = context.directory / "model.int8.onnx"
        with _quiet():
            prepared = _prepared(graph, context)
            quantization.quantize_static(
                prepared,
                target,
                _Batches(self.samples_),
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                weight_type=quantization.QuantType.QInt8,
                activation_type=quantization.QuantType.QUInt8,
                # Without it, CPUs that lack VNNI overflow 16 bits when they add two products.
                reduce_range=True,
                nodes_to_exclude=_after_weights(prepared),
            )
        return target


class _Batches:
    """Calibration samples in the form that ONNX Runtime requests."""

    def __init__(self, samples: NDArray[np.float32], size: int = 64) -> None:
        self._parts: Iterator[NDArray[np.float32]] = (
            samples[start : start + size] for start in range(0, len(samples), size)
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        part = next(self._parts, None)
        return None if part is None else {INPUT: part}


def _prepared(graph: Path, context: Context) -> Path:
    """The graph with its shapes known and its norms folded, as quantization wants it."""
    from onnxruntime.quantization.shape_inference import quant_pre_process  # noqa: PLC0415 - a second

    path = context.directory / "model.prepared.onnx"
    quant_pre_process(graph, path, skip_symbolic_shape=True)
    return path


def _after_weights(graph: Path) -> list[str]:
    """Nodes behind the last layer: a calibration's probabilities would be rounded to 0."""
    import onnx  # noqa: PLC0415 - a second that other methods do not need

    nodes = onnx.load(graph).graph.node
    last = max((at for at, node in enumerate(nodes) if node.op_type in _LAYERS), default=len(nodes))
    return [node.name for node in nodes[last + 1 :]]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence ONNX Runtime's advice on the root logger to do what `_prepared` has just done."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
