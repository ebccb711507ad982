"""Confidence that means what it says: a number that logits are divided by (temperature, Guo et al., 2017).

It is fitted on the validation split, and cannot change which class is the likeliest. A number a class
(`platt`) can. Isotonic regression is not here: the shipped graph would no longer give logits.
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
_OFFSETS = -20.0, 20.0
_log = structlog.get_logger("calibrate")


def divisible(model: nn.Module | None, method: str, context: Context) -> Classifier:
    """The model, which has logits to divide.

    Raises:
        AssignmentError: it has none.
    """
    if not context.classes or not isinstance(model, Classifier):
        raise AssignmentError("recipe.calibration", method, "needs a network and classes")
    return model


def calibrate(model: Classifier, method: str, validation: Samples) -> None:
    """Give `model` the temperature, or with `platt` those and the offsets, of the least validation loss.

    Raises:
        AssignmentError: `platt` where validation lacks a class.
    """
    device = next(model.buffers()).device
    with torch.inference_mode():
        parts = [model(part.float().to(device)).cpu() for part in torch.split(validation.inputs, _BATCH)]
    logits, labels = torch.cat(parts).double().numpy(), validation.labels.cpu().numpy()
    if method == "platt":
        absent = np.setdiff1d(np.arange(logits.shape[1]), labels)
        if len(absent):
            raise AssignmentError("recipe.calibration", method, f"needs validation of class {absent[0]} too")
        by, offset = platt(logits, labels)
        model.temperature, model.offset = (
            torch.tensor(one, dtype=torch.float32, device=device) for one in (by, offset)
        )
    else:
        model.temperature = torch.tensor(temperature(logits, labels), device=device)
    _log.info("calibrated", temperature=model.temperature.tolist())


def platt(
    logits: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each class's logits are divided by, 0.05 to 20, and what is added then, for the least mean loss.

    Platt's sigmoid (1999) for any number of classes: vector scaling (Guo et al., 2017). It can change which
    class is the likeliest.

    Args:
        logits: (n, classes).
        labels: (n,), every class among them.

    Returns:
        Both (classes,).
    """
    from scipy.optimize import minimize  # noqa: PLC0415
    from scipy.special import log_softmax  # noqa: PLC0415

    count, classes = logits.shape
    own = np.arange(count), labels

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scale, offset = np.exp(-at[:classes]), at[classes:]
        told = log_softmax(logits * scale + offset, axis=1)
        slope = np.exp(told)
        slope[own] -= 1
        along = np.concatenate([-(slope * logits).sum(0) * scale, slope.sum(0)])
        return float(-told[own].mean()), along / count

    bounds = [_RANGE] * classes + [_OFFSETS] * classes
    found = minimize(loss, np.zeros(2 * classes), jac=True, method="L-BFGS-B", bounds=bounds).x
    return np.exp(found[:classes]), found[classes:]


def temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """What logits (n, classes) are divided by so that the mean loss of `labels` (n,) is least; 0.05 to 20."""
    from scipy.optimize import minimize_scalar  # noqa: PLC0415  # most trials do without
    from scipy.special import logsumexp  # noqa: PLC0415

    own = logits[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float((logsumexp(logits * scale, axis=1) - own * scale).mean())

    return float(np.exp(minimize_scalar(loss, bounds=_RANGE, method="bounded").x))
