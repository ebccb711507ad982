"""Multilayer perceptron."""

import math

from pydantic import Field
from torch import nn

from comptroller_trainer.models.base import Family, initialise
from comptroller_trainer.stages.base import Parameters


class MlpParameters(Parameters):
    """`model.*` of `mlp`."""

    width: int = Field(128, ge=1, le=8192, description="Units in each hidden layer.")
    depth: int = Field(2, ge=1, le=32, description="Hidden layers.")
    dropout: float = Field(0.0, ge=0, lt=1, description="After each hidden layer.")


class Mlp(Family[MlpParameters]):
    """`mlp`: fully connected layers with ReLU, for samples of any shape."""

    Parameters = MlpParameters

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        p = self.parameters
        layers: list[nn.Module] = [nn.Flatten()]
        features = math.prod(shape)
        for _ in range(p.depth):
            layers += [nn.Linear(features, p.width), nn.ReLU()]
            if p.dropout:
                layers.append(nn.Dropout(p.dropout))
            features = p.width
        layers.append(nn.Linear(features, outputs))
        return initialise(nn.Sequential(*layers))
