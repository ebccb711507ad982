"""Low-rank adapters (LoRA, Hu et al., 2022) next to frozen weights, as torch parametrizations."""

import math
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRankAdapter(nn.Module):
    """A weight, (out, in, 1...), plus a product of rank `rank` that starts at zero."""

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        out, inner = weight.shape[:2]
        rank = min(rank, out, inner)
        self.down = nn.Parameter(torch.empty(rank, inner))
        self.up = nn.Parameter(torch.zeros(out, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as a linear layer's

    def forward(self, weight: Tensor) -> Tensor:
        """The weight in use."""
        return weight + (self.up @ self.down).view_as(weight)


def adapt(model: nn.Module, rank: int, head: nn.Module) -> None:
    """Freeze `model` but `head`, and give each other linear layer and 1-wide convolution an adapter."""
    model.requires_grad_(requires_grad=False)
    head.requires_grad_(requires_grad=True)
    for layer in [m for m in model.modules() if _adaptable(m) and m is not head]:
        parametrize.register_parametrization(layer, "weight", LowRankAdapter(layer.weight, rank))


def merge(model: nn.Module) -> nn.Module:
    """Merge adapters, or masks, into the weights of `model`, in place; outputs stay the same.

    A model without any is left as it is.
    """
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return model


def _adaptable(module: nn.Module) -> TypeGuard[nn.Linear | nn.Conv1d | nn.Conv2d]:
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        return module.groups == 1 and math.prod(module.kernel_size) == 1
    return isinstance(module, nn.Linear)
