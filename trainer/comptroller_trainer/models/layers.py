"""Layers that several families have in common."""

import torch
from torch import Tensor, nn


class Pool(nn.Module):
    """The greatest of each pair of positions along every axis."""

    def __init__(self, axes: int) -> None:
        super().__init__()
        self._pool = torch.max_pool2d if axes == 2 else torch.max_pool1d  # noqa: PLR2004 - height and width

    def forward(self, inputs: Tensor) -> Tensor:
        return self._pool(inputs, 2)


class Mean(nn.Module):
    """The mean over all positions: (n, c, ...) to (n, c)."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.flatten(2).mean(2)


class Residual(nn.Module):
    """A block that adds to its inputs; while skipped, it returns them."""

    skipped = False

    @property
    def optional(self) -> bool:
        """True if the block can be skipped, which needs inputs and outputs of one shape."""
        return True


def conv(
    axes: int, channels: int, width: int, *, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Conv1d | nn.Conv2d:
    """Return a padded convolution, without bias: the norm that follows has one."""
    kind = nn.Conv2d if axes == 2 else nn.Conv1d  # noqa: PLR2004 - height and width
    return kind(channels, width, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False)


def norm(axes: int, width: int) -> nn.BatchNorm1d | nn.BatchNorm2d:
    """Return a batch norm."""
    return nn.BatchNorm2d(width) if axes == 2 else nn.BatchNorm1d(width)  # noqa: PLR2004 - height and width
