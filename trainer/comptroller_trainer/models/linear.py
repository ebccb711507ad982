"""Linear models: logistic and linear regression."""

import math

from torch import nn

from comptroller_trainer.models.base import Family
from comptroller_trainer.stages.base import Parameters


class Linear(Family[Parameters]):
    """`linear`: one layer, for samples of any shape. It starts at zero: the problem is convex."""

    prunable, layered = (), False  # there is nothing between inputs and outputs

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        layer = nn.Linear(math.prod(shape), outputs)
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        return nn.Sequential(nn.Flatten(), layer)
