"""Calibrate confidence: divide logits by a temperature (Guo et al., 2017).

The temperature is fitted on the validation split, and cannot change which class is the likeliest. Numbers
(`platt`) or a curve (`isotonic`) for each class can.
"""

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import nn

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.models.base import Classifier

_BATCH = 512
_RANGE = np.log(0.05), np.log(20.0)
_OFFSETS = -20.0, 20.0
_KNOTS, _STEP, _MIXED = 33, 1e-4, 1e-3
_log = structlog.get_logger("calibrate")


def divisible(model: nn.Module | None, method: str) -> Classifier:
    """Return the model as a `Classifier`, which has logits to divide.

    Raises:
        AssignmentError: the model has no logits.
    """
    if not isinstance(model, Classifier):
        raise AssignmentError("recipe.calibration", method, "needs a network")
    return model


def calibrate(model: Classifier, method: str, validation: Samples) -> None:
    """Give `model` the temperature, or the numbers of another `method`, with the least loss on `validation`.

    Raises:
        AssignmentError: a method that has numbers for each class, where validation lacks one.
    """
    device = next(model.buffers()).device
    with torch.inference_mode():
        parts = [model(part.float().to(device)).cpu() for part in torch.split(validation.inputs, _BATCH)]
    logits, labels = torch.cat(parts).double().numpy(), validation.labels.cpu().numpy()
    if method == "temperature":
        found = {"temperature": np.array(temperature(logits, labels))}
    else:
        absent = np.setdiff1d(np.arange(logits.shape[1]), labels)
        if len(absent):
            raise AssignmentError("recipe.calibration", method, f"needs validation of class {absent[0]} too")
        names = ("temperature", "offset") if method == "platt" else ("knots", "rises")
        found = dict(zip(names, (platt if method == "platt" else isotonic)(logits, labels), strict=True))
    for name, values in found.items():
        setattr(model, name, torch.tensor(values, dtype=torch.float32, device=device))
    _log.info("calibrated", **{name: values.tolist() for name, values in found.items()})


def platt(
    logits: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each class's divisor of logits, 0.05 to 20, and its offset, for the least mean loss.

    Platt's sigmoid (1999) for any number of classes: vector scaling (Guo et al., 2017). The likeliest class
    can change.

    Args:
        logits: (n, classes).
        labels: (n,), every class among them.

    Returns:
        Divisors and offsets, both (classes,).
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - most trials do without
    from scipy.special import log_softmax  # noqa: PLC0415 - most trials do without

    count, classes = logits.shape
    own = np.arange(count), labels

    def loss(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scale, offset = np.exp(-at[:classes]), at[classes:]
        log_probability = log_softmax(logits * scale + offset, axis=1)
        slope = np.exp(log_probability)
        slope[own] -= 1
        along = np.concatenate([-(slope * logits).sum(0) * scale, slope.sum(0)])
        return float(-log_probability[own].mean()), along / count

    bounds = [_RANGE] * classes + [_OFFSETS] * classes
    found = minimize(loss, np.zeros(2 * classes), jac=True, method="L-BFGS-B", bounds=bounds).x
    return np.exp(found[:classes]), found[classes:]


def isotonic(
    logits: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return a non-decreasing curve for each class, from its probability to its observed frequency.

    Isotonic regression, one class against the rest (Zadrozny and Elkan, 2002), at the quantiles of the
    probabilities. A thousandth of the probability itself is mixed in, so that of two classes on a level
    stretch the likelier one stays so.

    Args:
        logits: (n, classes).
        labels: (n,), every class among them.

    Returns:
        Knots and rises of `Classifier`, both (classes, 33).
    """
    from scipy.special import softmax  # noqa: PLC0415 - most trials do without
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - most trials do without

    probability, quantiles = softmax(logits, axis=1), np.linspace(0, 1, _KNOTS)
    least = 1 / (2 * len(labels))  # a class that was never seen may come yet
    knots, rises = np.empty((2, logits.shape[1], _KNOTS))
    for label, own in enumerate(probability.T):
        curve = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip")
        curve.fit(own, labels == label)
        # A steeper curve would amplify rounding errors.
        places = np.quantile(own, quantiles) + _STEP * np.arange(_KNOTS)
        heights = (1 - _MIXED) * curve.predict(places) + _MIXED * places.clip(least)
        knots[label], rises[label] = places, np.diff(heights, prepend=0)
    return knots, rises


def temperature(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the divisor of logits (n, classes), 0.05 to 20, with the least mean loss of `labels` (n,)."""
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 - most trials do without
    from scipy.special import logsumexp  # noqa: PLC0415 - most trials do without

    own = logits[np.arange(len(labels)), labels]

    def loss(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        return float((logsumexp(logits * scale, axis=1) - own * scale).mean())

    return float(np.exp(minimize_scalar(loss, bounds=_RANGE, method="bounded").x))
