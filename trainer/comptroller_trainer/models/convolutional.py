"""Convolutional families, over images and over sequences."""

from collections.abc import Iterator

from pydantic import Field
from torch import nn

from comptroller_trainer.models.base import Family, initialise
from comptroller_trainer.models.layers import Mean, Pool, conv, norm
from comptroller_trainer.stages.base import Parameters
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, require

_SMALLEST = 7
"""Positions along an axis below which it is not halved any more."""


class ConvolutionalParameters(Parameters):
    """`model.*` of `cnn` and `dscnn`."""

    width: int = Field(16, ge=1, le=1024, description="Channels of the first block; each doubles them.")
    depth: int = Field(3, ge=1, le=8, description="Blocks; each halves the resolution while it is 7 or more.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Before the last layer.")


class Cnn(Family[ConvolutionalParameters]):
    """`cnn`: 3-wide convolutions with batch norm and ReLU, pooled, then averaged over positions."""

    Parameters = ConvolutionalParameters
    name = "cnn"
    kinds = (IMAGE, SEQUENCE)

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        require("model.family", self.name, shape, *self.kinds)
        axes = len(shape) - 1
        channels, size = shape[0], min(shape[1:])
        layers: list[nn.Module] = []
        for block in range(self.parameters.depth):
            width = self.parameters.width * 2**block
            layers += self._convolution(axes, channels, width, first=block == 0)
            # In this order an exporter folds the norm into the convolution, and a runtime fuses the ReLU.
            layers += [norm(axes, width), nn.ReLU()]
            if size >= _SMALLEST:
                layers.append(Pool(axes))
                size //= 2
            channels = width
        layers.append(Mean())
        if self.parameters.dropout:
            layers.append(nn.Dropout(self.parameters.dropout))
        layers.append(nn.Linear(channels, outputs))
        return initialise(nn.Sequential(*layers))

    def _convolution(self, axes: int, channels: int, width: int, *, first: bool) -> Iterator[nn.Module]:
        del first
        yield conv(axes, channels, width, kernel=3)


class DepthwiseSeparableCnn(Cnn):
    """`dscnn`: `cnn`, all convolutions but the first depthwise separable (Howard et al., 2017)."""

    name = "dscnn"

    def _convolution(self, axes: int, channels: int, width: int, *, first: bool) -> Iterator[nn.Module]:
        if first:
            yield conv(axes, channels, width, kernel=3)
            return
        yield conv(axes, channels, channels, kernel=3, groups=channels)
        yield norm(axes, channels)
        yield nn.ReLU()
        yield conv(axes, channels, width, kernel=1)
