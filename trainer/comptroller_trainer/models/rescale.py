"""The number that a regression predicts: standardised within the model, in its own units outside."""

import torch
from torch import Tensor, nn

from comptroller_trainer.learning.loss import deviation_of


class Rescale(nn.Module):
    """Convert deviations about the training split's mean to the target's units.

    Args:
        labels: (n,), of the training split.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", labels.double().mean().float())
        self.register_buffer("deviation", torch.tensor(deviation_of(labels)))

    def forward(self, outputs: Tensor) -> Tensor:
        """Return (n, 1) in the target's units from standardised (n, 1)."""
        return outputs * self.deviation + self.mean
