"""The interface of model families, and the base of every model."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.stages.base import Context, P, Stage
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, TABLE


class Family(Stage[P]):
    """Builds untrained networks of one kind."""

    prunable: ClassVar[tuple[int, ...]] = (IMAGE, SEQUENCE, TABLE)
    """Dimensions of samples for which channels can be taken out of the family's networks."""
    layered: ClassVar[bool] = True
    """True if the family's networks have linear layers or convolutions in front of the last."""

    @abstractmethod
    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """Return a network from standardised float32 inputs (n, *shape) to (n, outputs).

        Those are logits, one a class; for regression the value, `outputs` being 1.

        The caller has seeded torch's global generator: initial weights depend on the trial's seed alone.

        Raises:
            AssignmentError: the family has no network for samples of this shape.
        """

    def shipped(self) -> P:
        """Return the parameters of the shipped network, without those that only training needed."""
        return self.parameters


class EstimatorFamily(Family[P]):
    """Models without gradient training, fitted at once like scikit-learn's estimators, then torch modules."""

    prunable = ()

    def build(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        del shape, outputs
        raise TypeError(f"{type(self).__name__} is trained, not built")

    @abstractmethod
    def train(self, samples: Samples, weights: Tensor | None, share: float, context: Context) -> nn.Module:
        """Return a fitted model, in eval mode, from float32 inputs (n, *shape) as stored to (n, outputs).

        Args:
            samples: the selected part of the training split.
            weights: (len(samples),) of each one's loss; None: all 1.
            share: of the last rung's epochs that this rung has, more than 0 and at most 1; a family with
                rounds does the same share of them.
            context: the trial.

        Raises:
            AssignmentError: the family has no model for such samples.
        """


CALIBRATION = ("temperature", "offset", "knots", "rises")
"""Buffers that only a calibrated `Classifier` has."""


class Classifier(nn.Module):
    """A network that takes the data as it is stored and standardises it itself.

    Therefore the exported model has no preprocessing that a server could get wrong.

    Args:
        body: the network that a family built.
        mean: (c,), of the training split.
        deviation: (c,), more than zero.
        shape: of one sample, channels or features first.
    """

    mean: Tensor
    scale: Tensor
    temperature: Tensor | None
    """Divisor of logits, if calibrated: a number, or (classes,)."""
    offset: Tensor | None
    """Offset that is added after the division: (classes,)."""
    knots: Tensor | None
    """Probabilities of each class at which a calibrated one is known, increasing: (classes, k)."""
    rises: Tensor | None
    """The calibrated probability at the first knot, and the rise at each next: (classes, k)."""

    def __init__(self, body: nn.Module, mean: Tensor, deviation: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        broad = (-1,) + (1,) * (len(shape) - 1)
        self.register_buffer("mean", mean.view(broad))
        self.register_buffer("scale", (1 / deviation).view(broad))
        for name in CALIBRATION:
            self.register_buffer(name, None)
        self.body = body

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (n, outputs) of inputs (n, *shape), which are float32 (bytes: 0 to 255)."""
        logits: Tensor = self.body((inputs - self.mean) * self.scale)
        if self.temperature is not None:
            logits = logits / self.temperature
        if self.offset is not None:
            logits = logits + self.offset
        return logits if self.knots is None else self._curved(logits)

    def _curved(self, logits: Tensor) -> Tensor:
        """Return the logarithm of each class's curve at its probability: straight lines from knot to knot."""
        knots, rises = self.knots, self.rises
        assert knots is not None and rises is not None  # noqa: S101, PT018 - `forward` calls this only for a curve
        # Each line's own rise, clipped: a sum of slopes would lose its digits where two knots are close.
        along = (logits.softmax(1)[..., None] - knots[:, :-1]) / (knots[:, 1:] - knots[:, :-1])
        return (rises[:, 0] + (along.clamp(0, 1) * rises[:, 1:]).sum(2)).log()


def parameter_count(model: nn.Module) -> int:
    """Return the number of weights, frozen ones too: they are shipped."""
    return sum(p.numel() for p in model.parameters())


def initialise(model: nn.Module) -> nn.Module:
    """Apply He's initialisation (2015), for layers that a ReLU follows; biases are zero."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    return model
