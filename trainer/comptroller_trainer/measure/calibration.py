"""Confidence that means what it says: a number that logits are divided by (temperature, Guo et al., 2017).

It is fitted on the validation split, and cannot change which class is the likeliest.
"""

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import nn

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.models.base import Classifier
from comptroller_trainer.stages import Context

_BATCH = 512
_RANGE = np.log(0.05), np.log(20.0)
_log = structlog.get_logger("calibrate")


def divisible(model: nn.Module | None, context: Context) -> Classifier:
    """The model, which has logits to divide.

    Raises:
        AssignmentError: it has none.
    """
    if not context.classes or not isinstance(model, Classifier):
        raise AssignmentError("recipe.calibration", "temperature", "needs a network and classes")
    return model


def calibrate(model: Classifier, validation: Samples) -> None:
    """Give `model` the temperature at which its validation loss is least."""
    device = next(model.buffers()).device
    with torch.inference_mode():
        parts = [model(part.float().to(device)).cpu() for part in torch.split(validation.inputs, _BATCH)]
    found = temperature(torch.cat(parts).double().numpy(), validation.labels.cpu().numpy())
    model.temperature = torch.tensor(found, device=device)
    _log.info("calibrated", temperature=round(found, 4))


def temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """What logits (n, classes) are divided by so that the mean loss of `labels` (n,) is least; 0.05 to 20."""
    from scipy.optimize import minimize_scalar  # noqa: PLC0415  # most trials do without
    from scipy.special import logsumexp  # noqa: PLC0415

    own = logits[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float((logsumexp(logits * scale, axis=1) - own * scale).mean())

    return float(np.exp(minimize_scalar(loss, bounds=_RANGE, method="bounded").x))
