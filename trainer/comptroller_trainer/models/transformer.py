"""A compact transformer over patches of images or of sequences."""

import math
from typing import Literal

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn
from torch.nn import functional

from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.models.base import Family
from comptroller_trainer.models.layers import Mean, Residual
from comptroller_trainer.stages.base import Parameters
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, require


class TransformerParameters(Parameters):
    """`model.*` of `transformer`."""

    width: int = Field(64, ge=4, le=2048, multiple_of=4, description="Features of a token.")
    depth: int = Field(4, ge=1, le=48, description="Blocks.")
    heads: int = Field(4, ge=1, le=64, description="Of attention; a divisor of the width.")
    expansion: int = Field(2, ge=1, le=8, description="Hidden units of a block's perceptron, per feature.")
    patch: int = Field(4, ge=1, le=64, description="Positions of a token along each axis.")
    positions: Literal["learned", "sinusoidal"] = Field("learned", description="How tokens know their place.")
    attention: Literal["softmax", "linear"] = Field(
        "softmax", description="linear: time and memory grow with the tokens, not with their square."
    )
    share: bool = Field(default=False, description="One block's weights for all blocks.")
    dropout: float = Field(0.0, ge=0, lt=1, description="After attention and after the perceptron.")

    @field_validator("heads")
    @classmethod
    def _divides(cls, heads: int, info: ValidationInfo) -> int:
        width = info.data.get("width", heads)
        if width % heads:
            raise ValueError(f"must divide model.width ({width})")
        return heads


class Transformer(Family[TransformerParameters]):
    """`transformer`: pre-norm encoder over patches (Dosovitskiy et al., 2021), averaged over the tokens.

    `share` is ALBERT's sharing across layers (Lan et al., 2020), `attention: linear` that of Katharopoulos
    et al. (2020).
    """

    Parameters = TransformerParameters
    name = "transformer"
    kinds = (IMAGE, SEQUENCE)
    prunable = ()  # positions are no layer's weights, and heads share the width

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        require("model.family", self.name, shape, *self.kinds)
        p = self.parameters
        if min(shape[1:]) < p.patch:
            raise AssignmentError("model.patch", p.patch, f"must not be more than an axis of {shape}")
        blocks = [Block(p) for _ in range(1 if p.share else p.depth)]
        encoder = [Repeated(blocks[0], p.depth)] if p.share else blocks
        model = nn.Sequential(
            Tokens(shape, p), *encoder, nn.LayerNorm(p.width), Over(), Mean(), nn.Linear(p.width, outputs)
        )
        return _initialise(model)


class Tokens(nn.Module):
    """Patches, each projected, with their positions: (n, *shape) to (n, tokens, width).

    Positions at an axis' end that fill no patch are left out.
    """

    positions: Tensor

    def __init__(self, shape: tuple[int, ...], p: TransformerParameters) -> None:
        super().__init__()
        kind = nn.Conv2d if len(shape) == IMAGE else nn.Conv1d
        self.project = kind(shape[0], p.width, p.patch, stride=p.patch)
        grid = [size // p.patch for size in shape[1:]]
        if p.positions == "learned":
            self.positions = nn.Parameter(torch.randn(1, math.prod(grid), p.width) * 0.02)
        else:
            self.register_buffer("positions", sinusoidal(grid, p.width)[None])

    def forward(self, inputs: Tensor) -> Tensor:
        tokens: Tensor = self.project(inputs).flatten(2).transpose(1, 2)
        return tokens + self.positions


class Attention(nn.Module):
    """Multi-head self-attention: (n, tokens, width) to the same."""

    def __init__(self, p: TransformerParameters) -> None:
        super().__init__()
        self._heads, self._linear = p.heads, p.attention == "linear"
        self.inward = nn.Linear(p.width, 3 * p.width)
        self.outward = nn.Linear(p.width, p.width)

    def forward(self, inputs: Tensor) -> Tensor:
        # Queries, keys and values are each (n, heads, tokens, width / heads).
        parts = self.inward(inputs).unflatten(2, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        if self._linear:
            query, key = functional.elu(query) + 1, functional.elu(key) + 1
            total = query @ key.sum(2)[..., None]
            mixed = query @ (key.transpose(2, 3) @ value) / total
        else:
            mixed = functional.scaled_dot_product_attention(query, key, value)
        outward: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return outward


class Block(Residual):
    """Attention, then a perceptron, each added to its inputs."""

    def __init__(self, p: TransformerParameters) -> None:
        super().__init__()
        hidden = p.expansion * p.width
        self.attention = nn.Sequential(nn.LayerNorm(p.width), Attention(p), nn.Dropout(p.dropout))
        self.perceptron = nn.Sequential(
            nn.LayerNorm(p.width),
            nn.Linear(p.width, hidden),
            nn.GELU(),
            nn.Linear(hidden, p.width),
            nn.Dropout(p.dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        if self.skipped:
            return tokens
        tokens = tokens + self.attention(tokens)
        tokens = tokens + self.perceptron(tokens)
        return tokens  # noqa: RET504 - the two halves read alike


class Repeated(nn.Module):
    """One block several times over: its weights are stored once."""

    def __init__(self, block: nn.Module, times: int) -> None:
        super().__init__()
        self.block = block
        self._times = times

    def forward(self, tokens: Tensor) -> Tensor:
        for _ in range(self._times):
            tokens = self.block(tokens)
        return tokens


class Over(nn.Module):
    """(n, tokens, width) to (n, width, tokens)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.transpose(1, 2)


def sinusoidal(grid: list[int], width: int) -> Tensor:
    """(product of `grid`, width): sines and cosines of each axis' places (Vaswani et al., 2017)."""
    share = width // len(grid) // 2
    rates = 10_000 ** (-torch.arange(share) / share)
    places = torch.cartesian_prod(*(torch.arange(size) for size in grid)).view(-1, len(grid), 1)
    angles = (places * rates).flatten(1)
    return torch.cat([angles.sin(), angles.cos()], 1)


def _initialise(model: nn.Module) -> nn.Module:
    """Apply Glorot's initialisation (2010), since no ReLU follows; biases are zero."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return model
