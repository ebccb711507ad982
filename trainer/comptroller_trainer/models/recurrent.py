"""Recurrent networks for sequences."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from comptroller_trainer.models.base import Family
from comptroller_trainer.models.layers import Mean
from comptroller_trainer.stages.base import Parameters
from comptroller_trainer.stages.modality import SEQUENCE, require


class GruParameters(Parameters):
    """`model.*` of `gru`."""

    width: int = Field(32, ge=1, le=2048, description="Units in each direction.")
    depth: int = Field(1, ge=1, le=8, description="Layers, one on the other.")
    directions: Literal[1, 2] = Field(2, description="2: forward and backward.")
    pool: Literal["mean", "last", "flatten"] = Field(
        "flatten", description="What the last layer sees: the steps' mean, the last step, or all of them."
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="Between layers, and before the last.")


class Recurrent(nn.Module):
    """The outputs of a GRU at each step: (n, channels, length) to (n, features, length)."""

    def __init__(self, channels: int, p: GruParameters) -> None:
        super().__init__()
        self.gru = nn.GRU(
            channels,
            p.width,
            num_layers=p.depth,
            batch_first=True,
            bidirectional=p.directions > 1,
            dropout=p.dropout if p.depth > 1 else 0.0,
        )

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.gru(inputs.transpose(1, 2))[0]
        return outputs.transpose(1, 2)


class Ends(nn.Module):
    """The last step each direction makes: (n, features, length) to (n, features)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([inputs[:, : self._width, -1], inputs[:, self._width :, 0]], 1)


class Gru(Family[GruParameters]):
    """`gru`: gated recurrent units (Cho et al., 2014) over the steps of a sequence."""

    Parameters = GruParameters
    name = "gru"
    kinds = (SEQUENCE,)
    prunable, layered = (), False  # nn.GRU's weights are no layers of their own

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        require("model.family", self.name, shape, *self.kinds)
        p, (channels, length) = self.parameters, shape
        features = p.width * p.directions
        pools: dict[str, nn.Module] = {"mean": Mean(), "last": Ends(p.width), "flatten": nn.Flatten()}
        return nn.Sequential(
            Recurrent(channels, p),
            pools[p.pool],
            nn.Dropout(p.dropout),
            nn.Linear(features * length if p.pool == "flatten" else features, outputs),
        )
