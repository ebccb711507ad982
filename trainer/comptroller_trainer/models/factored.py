"""Layers as two thinner ones, one after the other."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

Layer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d


class Factored(nn.Sequential):
    """`down` to `rank` features, then `up`, whose bias is the layer's.

    Of a convolution `down` has the kernel, and `up` is 1-wide (Jaderberg et al., 2014; Zhang et al., 2015).

    Args:
        layer: ungrouped; what the two compute the same as, or near it, once they have weights.
        rank: at most the layer's.
    """

    def __init__(self, layer: Layer, rank: int) -> None:
        weight, bias = layer.weight, layer.bias is not None
        if isinstance(layer, nn.Linear):
            down: nn.Module = nn.Linear(layer.in_features, rank, bias=False)
            up: nn.Module = nn.Linear(rank, layer.out_features, bias=bias)
        else:
            kind = type(layer)
            down = kind(
                layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding, layer.dilation,  # type: ignore[arg-type]
                bias=False, padding_mode=layer.padding_mode,
            )  # fmt: skip
            up = kind(rank, layer.out_channels, 1, bias=bias)
        super().__init__(OrderedDict(down=down, up=up))
        self.to(weight.device, weight.dtype)

    def approximate(self, layer: Layer) -> None:
        """Take the weights nearest to the layer's, by its singular values (Eckart and Young, 1936)."""
        down, up = self.get_submodule("down"), self.get_submodule("up")
        left, values, right = torch.linalg.svd(layer.weight.detach().flatten(1), full_matrices=False)
        rank = len(down.get_parameter("weight"))
        root = values[:rank].sqrt()
        with torch.no_grad():
            _fill(down, right[:rank] * root[:, None])
            _fill(up, left[:, :rank] * root)
            if layer.bias is not None:
                up.get_parameter("bias").copy_(layer.bias)


def replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Put `layer` where the model has one by `name`."""
    parent, _, own = name.rpartition(".")
    setattr(model.get_submodule(parent), own, layer)


def layers(model: nn.Module) -> Iterator[tuple[str, Layer]]:
    """Yield the linear layers and convolutions by name.

    Subclasses compute something else with their weights, and are left out.
    """
    kinds = {nn.Linear, nn.Conv1d, nn.Conv2d}
    for name, module in model.named_modules():
        if parametrize.type_before_parametrizations(module) in kinds:
            yield name, module


def inner(model: nn.Module) -> Iterator[tuple[str, Layer]]:
    """Return the layers in front of the last linear one, which gives the outputs."""
    found = list(layers(model))
    last = [name for name, layer in found if isinstance(layer, nn.Linear)][-1:]
    return ((name, layer) for name, layer in found if name not in last)


def _fill(layer: nn.Module, matrix: Tensor) -> None:
    weight = layer.get_parameter("weight")
    weight.copy_(matrix.view_as(weight))
