"""Sparsity: the smallest weights become zero, and the shapes stay as they are."""

from pathlib import Path
from typing import Literal, Self

import structlog
import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn
from torch.nn.utils import parametrize

from comptroller_api.metrics import METRICS, Metric
from comptroller_trainer.compression.base import Compressor, CompressorParameters
from comptroller_trainer.compression.pipeline import FIELD
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.measure.zeros import zero_share
from comptroller_trainer.models.factored import Layer, inner
from comptroller_trainer.stages.base import Context

_FOUR, _TWO = 4, 2
_log = structlog.get_logger("sparse")


class SparseParameters(CompressorParameters):
    """`compress.*` of `sparse`."""

    pattern: Literal["unstructured", "2:4"] = Field(
        "unstructured",
        description="2:4: two of each four inputs in a row, for GPUs with sparse tensor cores.",
    )
    sparsity: float = Field(
        0.5, gt=0, lt=1, description="Share of the weights in front of the last layer that become zero."
    )

    @field_validator("sparsity")
    @classmethod
    def _half(cls, sparsity: float, info: ValidationInfo) -> float:
        if info.data.get("pattern") == "2:4" and sparsity != _TWO / _FOUR:
            raise ValueError("must be 0.5 with compress.pattern 2:4")
        return sparsity


class Sparse(Compressor[SparseParameters]):
    """`sparse`: by magnitude (Han et al., 2015), over the whole network, or 2:4 (Mishra et al., 2021).

    ONNX Runtime computes with zeros as with any number, so the artifact gets neither faster nor smaller here.
    Sparsity pays in a runtime that knows the pattern, or in a compressed download.
    """

    Parameters = SparseParameters
    place = "parts"

    @property
    def measured(self) -> tuple[Metric, ...]:
        return (METRICS["zero_share"],)

    def check(self, model: nn.Module, context: Context) -> None:
        del context
        if not self._layers(model):
            wanted = "whose inputs are a multiple of 4 " if self.parameters.pattern == "2:4" else ""
            raise AssignmentError(FIELD, "sparse", f"finds no layer {wanted}in front of the last")

    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        del dataset, context
        layers = self._layers(model)
        weights = [layer.weight.detach() for layer in layers]
        if self.parameters.pattern == "2:4":
            masks = [_two_of_four(weight) for weight in weights]
        else:
            masks = _largest(weights, 1 - self.parameters.sparsity)
        for layer, mask in zip(layers, masks, strict=True):
            parametrize.register_parametrization(layer, "weight", Masked(mask))
        _log.info(
            "masked", kept=sum(int(mask.sum()) for mask in masks), of=sum(mask.numel() for mask in masks)
        )
        self.model_ = model.eval()
        return self

    def metrics(self, graph: Path) -> dict[str, float]:
        return {"zero_share": zero_share(graph)}

    def _layers(self, model: nn.Module) -> list[Layer]:
        four = self.parameters.pattern == "2:4"
        return [layer for _, layer in inner(model) if not four or layer.weight.shape[1] % _FOUR == 0]


class Masked(nn.Module):
    """A weight without what the mask leaves out, however it is fine-tuned."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight in use."""
        return weight * self.mask


def _largest(weights: list[Tensor], share: float) -> list[Tensor]:
    """True where a weight is among the `share` that are largest of all."""
    sizes = torch.cat([weight.abs().flatten() for weight in weights])
    mask = torch.zeros_like(sizes, dtype=torch.bool)
    mask[sizes.topk(round(share * len(sizes))).indices] = True
    parts = torch.split(mask, [weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def _two_of_four(weight: Tensor) -> Tensor:
    """True where a weight (out, in, ...) is among the two largest of its four inputs in a row."""
    last = weight.abs().movedim(1, -1)
    fours = last.reshape(*last.shape[:-1], -1, _FOUR)
    mask = torch.zeros_like(fours, dtype=torch.bool)
    mask.scatter_(-1, fours.topk(_TWO, -1).indices, value=True)
    return mask.flatten(-2).movedim(-1, 1).contiguous()
