"""Residual networks for small images and for sequences."""

import torch
from pydantic import Field
from torch import Tensor, nn

from comptroller_trainer.models.base import Family, initialise
from comptroller_trainer.models.layers import Mean, Residual, conv, norm
from comptroller_trainer.stages.base import Parameters
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, require


class ResnetParameters(Parameters):
    """`model.*` of `resnet`."""

    width: int = Field(16, ge=1, le=1024, description="Channels of the first stage; each doubles them.")
    depth: int = Field(2, ge=1, le=32, description="Blocks in each stage.")
    stages: int = Field(3, ge=1, le=5, description="Each but the first halves the resolution.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Before the last layer.")


class BasicBlock(Residual):
    """Two 3-wide convolutions and a shortcut, which is a 1-wide convolution if the shape changes."""

    def __init__(self, axes: int, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(axes, channels, width, kernel=3, stride=stride),
            norm(axes, width),
            nn.ReLU(),
            conv(axes, width, width, kernel=3),
            norm(axes, width),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(
                Every(stride), conv(axes, channels, width, kernel=1), norm(axes, width)
            )

    @property
    def optional(self) -> bool:
        return isinstance(self.shortcut, nn.Identity)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.skipped:
            return inputs
        return torch.relu(self.body(inputs) + self.shortcut(inputs))


class Every(nn.Module):
    """Each `stride`-th position along every axis: before a 1-wide convolution, the same as its stride.

    oneDNN 3.13 on CPUs writes past its buffers in the backward pass of a strided 1-wide convolution with
    channels last and fewer than 8 channels.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self._stride = stride

    def forward(self, inputs: Tensor) -> Tensor:
        for axis in range(2, inputs.ndim):
            inputs = inputs[(slice(None),) * axis + (slice(None, None, self._stride),)]
        return inputs


class Resnet(Family[ResnetParameters]):
    """`resnet`: the small residual network for CIFAR (He et al., 2016), 6 * depth + 2 layers at 3 stages.

    Its shortcuts are projections, as in the larger networks of the paper.
    """

    Parameters = ResnetParameters
    name = "resnet"
    kinds = (IMAGE, SEQUENCE)
    prunable = (IMAGE,)  # strides along one axis are not understood by the dependency graph

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        require("model.family", self.name, shape, *self.kinds)
        p, axes, channels = self.parameters, len(shape) - 1, self.parameters.width
        layers: list[nn.Module] = [conv(axes, shape[0], channels, kernel=3), norm(axes, channels), nn.ReLU()]
        for stage in range(p.stages):
            width = p.width * 2**stage
            for block in range(p.depth):
                layers.append(BasicBlock(axes, channels, width, stride=2 if stage and not block else 1))
                channels = width
        layers.append(Mean())
        if p.dropout:
            layers.append(nn.Dropout(p.dropout))
        layers.append(nn.Linear(channels, outputs))
        return initialise(nn.Sequential(*layers))
