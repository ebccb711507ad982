"""Quality from outputs and labels, in numpy: scikit-learn's metrics cost three seconds to import."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def quality(outputs: NDArray[np.float32], labels: NDArray[Any]) -> dict[str, float]:
    """Return the metrics of a model's outputs.

    For a classifier: `accuracy`, `f1_macro`, `auc` (one class against the rest), `brier` (0 to 2), `ece` and
    `loss` (nats). For a regression: `rmse` and `mae` in the target's units, `r2` and `loss` (squared units).

    Args:
        outputs: (n, classes) logits, or (n, 1) predictions.
        labels: (n,), integers for classes, floats for a regression.
    """
    return _of_numbers(outputs, labels) if labels.dtype.kind == "f" else _of_classes(outputs, labels)


def _of_classes(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> dict[str, float]:
    values = logits.astype(np.float64)
    values -= values.max(1, keepdims=True)
    log_probability = values - np.log(np.exp(values).sum(1, keepdims=True))
    probability = np.exp(log_probability)
    predicted = logits.argmax(1)
    own = np.arange(len(labels)), labels
    return {
        "accuracy": float((predicted == labels).mean()),
        "f1_macro": f1_macro(predicted, labels, logits.shape[1]),
        "auc": _auc(probability, labels),
        "brier": float((np.square(probability).sum(1) - 2 * probability[own] + 1).mean()),
        "ece": _calibration_error(probability.max(1), predicted == labels),
        "loss": float(-log_probability[own].mean()),
    }


def _of_numbers(predictions: NDArray[np.float32], targets: NDArray[np.float32]) -> dict[str, float]:
    truth = targets.astype(np.float64)
    error = predictions.astype(np.float64).reshape(-1) - truth
    squared, variance = float(np.square(error).mean()), float(truth.var())
    return {
        "rmse": squared**0.5,
        "mae": float(np.abs(error).mean()),
        "r2": 1 - squared / variance if variance else 0.0,
        "loss": squared,
    }


def f1_macro(predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> float:
    """Return the mean over classes of 2 TP / (predicted + actual); 0 for one in neither."""
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    total = np.bincount(predicted, minlength=classes) + np.bincount(labels, minlength=classes)
    return float((2 * hits / np.maximum(total, 1)).mean())


def _auc(probability: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the area under the ROC curve, one class against the rest, the mean over the classes present.

    The area comes from ranks (Mann and Whitney, 1947), ties counted half; 0.5 if only one class is present.
    """
    found = []
    for label in np.unique(labels):
        scores, positive = probability[:, label], labels == label
        ours, theirs = int(positive.sum()), int((~positive).sum())
        if theirs:
            _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
            rank = (np.cumsum(count) - (count - 1) / 2)[place]
            found.append((rank[positive].sum() - ours * (ours + 1) / 2) / (ours * theirs))
    return float(np.mean(found)) if found else 0.5


def _calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error with equal-width bins (Guo et al., 2017)."""
    where = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gap = np.bincount(where, confidence - right, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))
