"""Compare the quality of a model on slices of the data, in numpy.

Fairlearn's demographic parity and equalised odds know predictions of two classes and no others, and its
import takes two seconds, of every trial; on two classes these numbers are its own.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comptroller_trainer.measure.quality import quality

ENOUGH = 30
"""Samples that a slice, or a share of one, needs to count in a gap."""

_Counts = NDArray[Any]


def slices(
    outputs: NDArray[np.float32], labels: NDArray[Any], codes: NDArray[np.int64], names: Sequence[str]
) -> tuple[dict[str, float], list[dict[str, object]]]:
    """Return the gaps between slices, and the quality and number of samples of each.

    For a classifier: the least and largest accuracy (`slice_accuracy_least`, `slice_accuracy_largest`) and
    their difference, `gap_accuracy`; `gap_demographic_parity`, of the share with a predicted class, and
    `gap_equalised_odds` (Hardt et al., 2016), of the true and false positive rates of a class, each of the
    class whose gap is largest. For a regression, `slice_rmse_least`, `slice_rmse_largest`, `gap_rmse`.
    A gap for which fewer than two slices have enough samples is left out.

    Args:
        outputs: (n, classes) logits, or (n, 1) predictions.
        labels: (n,), integers for classes, floats for a regression.
        codes: (n,), the slice of each sample.
        names: of the slices, by their codes.
    """
    metric = "rmse" if labels.dtype.kind == "f" else "accuracy"
    each: list[dict[str, object]] = []
    values = []
    for code, name in enumerate(names):
        inside = codes == code
        if count := int(inside.sum()):
            found = quality(outputs[inside], labels[inside])
            each.append({"slice": name, "samples": count} | found)
            if count >= ENOUGH:
                values.append(found[metric])
    gaps = {}
    if len(values) > 1:
        least, largest = min(values), max(values)
        gaps = {
            f"slice_{metric}_least": least,
            f"slice_{metric}_largest": largest,
            f"gap_{metric}": largest - least,
        }
    if metric == "accuracy":
        gaps |= _fairness(outputs.argmax(1), labels, codes, (len(names), outputs.shape[1]))
    return gaps, each


def _fairness(
    predicted: NDArray[np.int64], labels: NDArray[np.int64], codes: NDArray[np.int64], size: tuple[int, int]
) -> dict[str, float]:
    def counted(classes: NDArray[np.int64], weight: NDArray[np.bool_] | None = None) -> _Counts:
        place = np.ravel_multi_index((codes, classes), size)
        return np.bincount(place, weight, size[0] * size[1]).reshape(size)

    answered, true, hits = counted(predicted), counted(labels), counted(labels, predicted == labels)
    every = np.broadcast_to(true.sum(1, keepdims=True), size)
    found = {
        "gap_demographic_parity": _gap(answered, every),
        "gap_equalised_odds": np.fmax(_gap(hits, true), _gap(answered - hits, every - true)),
    }
    return {name: float(gap) for name, gap in found.items() if not np.isnan(gap)}


def _gap(counts: _Counts, of: _Counts) -> float:
    """Return the largest gap of any class between slices' shares `counts / of`, each (slices, classes).

    The gap is NaN if no class has two slices with enough samples.
    """
    enough = of >= ENOUGH
    rates = counts / np.maximum(of, 1)
    gaps = np.where(enough, rates, -np.inf).max(0) - np.where(enough, rates, np.inf).min(0)
    gaps = gaps[enough.sum(0) > 1]
    return float(gaps.max()) if len(gaps) else np.nan
