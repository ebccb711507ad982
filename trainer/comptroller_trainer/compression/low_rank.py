"""Low rank: layers become two thinner ones that have fewer weights between them."""

import copy
import math
from typing import Self

import structlog
import torch
from pydantic import Field
from torch import nn

from comptroller_trainer.compression.base import Compressor, CompressorParameters
from comptroller_trainer.compression.pipeline import FIELD
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.models.adapters import merge
from comptroller_trainer.models.base import parameter_count
from comptroller_trainer.models.factored import Factored, Layer, inner, replace
from comptroller_trainer.stages.base import Context

_log = structlog.get_logger("low_rank")


class LowRankParameters(CompressorParameters):
    """`compress.*` of `low_rank`."""

    rank: float = Field(
        0.25, gt=0, lt=1, description="Share of each layer's full rank; a layer that would grow is left."
    )


class LowRank(Compressor[LowRankParameters]):
    """`low_rank`: each linear layer and convolution as two, by truncated SVD (Denton et al., 2014).

    The last layer stays whole, and so do grouped convolutions and recurrent layers.
    """

    Parameters = LowRankParameters
    place = "parts"

    def check(self, model: nn.Module, context: Context) -> None:
        trial = merge(copy.deepcopy(model)).eval()
        layers = [layer for _, layer in inner(trial) if _divisible(layer)]
        if not layers:
            raise AssignmentError(FIELD, "low_rank", "finds no layer in front of the last to factor")
        chosen = self._chosen(trial)
        if not chosen:
            fewest = min(_share(layer, 1) for layer in layers)
            raise AssignmentError(
                "compress.rank", self.parameters.rank,
                f"leaves no layer with fewer weights; at the least rank, the best has {fewest:.2f} of them",
            )  # fmt: skip
        for name, layer, rank in chosen:
            replace(trial, name, Factored(layer, rank))
        try:
            with torch.no_grad():
                trial(torch.zeros(2, *context.shape, device=next(trial.parameters()).device))
        except (RuntimeError, AttributeError, TypeError) as error:  # a model that reads its layers' weights
            why = str(error).splitlines()[0]
            raise AssignmentError(FIELD, "low_rank", f"cannot factor this model: {why}") from error

    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        del dataset, context
        before = parameter_count(model)
        for name, layer, rank in self._chosen(model):
            factored = Factored(layer, rank)
            factored.approximate(layer)
            replace(model, name, factored)
        _log.info("factored", parameters=parameter_count(model), of=before)
        self.model_ = model.eval()
        return self

    def _chosen(self, model: nn.Module) -> list[tuple[str, Layer, int]]:
        """The layers that get smaller, and the rank each is to have."""
        found = []
        for name, layer in inner(model):
            rank = max(1, round(self.parameters.rank * min(_matrix(layer))))
            if _divisible(layer) and _share(layer, rank) < 1:
                found.append((name, layer, rank))
        return found


def _divisible(layer: Layer) -> bool:
    if isinstance(layer, nn.Linear):
        return True
    # Strided and 1-wide with few channels: see `models.resnet.Every`.
    return layer.groups == 1 and (math.prod(layer.kernel_size) > 1 or max(layer.stride) == 1)


def _matrix(layer: Layer) -> tuple[int, int]:
    """Rows and columns of the layer's weights: outputs, and all that goes into one."""
    return len(layer.weight), layer.weight[0].numel()


def _share(layer: Layer, rank: int) -> float:
    """Weights of the two layers of `rank`, as a share of those of `layer`."""
    rows, columns = _matrix(layer)
    return rank * (rows + columns) / (rows * columns)
