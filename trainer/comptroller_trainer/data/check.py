"""Checks of data before the split, for every format."""

import numpy as np

from comptroller_trainer.data.source import ArrayInputs, DataError, RawData

_MOST_CLASSES = 100_000


def check(raw: RawData, *, regression: bool) -> int:
    """Return the number of classes in `raw`; 0 for a regression.

    Raises:
        DataError: there are no samples, the counts differ, a number is not finite, a class is out of range or
            has no samples, or there is but one label.
    """
    labels = raw.labels
    if len(raw.inputs) != len(labels):
        raise DataError(f"{raw.name}: {len(raw.inputs)} samples and {len(labels)} labels")
    if len(labels) == 0:
        raise DataError(f"{raw.name}: no samples")
    if isinstance(raw.inputs, ArrayInputs):
        finite(raw.inputs, raw.name)
    classes = 0 if regression else _classes(raw)
    if regression and not np.isfinite(labels).all():
        where = int(np.argmin(np.isfinite(labels)))
        raise DataError(f"{raw.name}: label {labels[where]} of sample {where} is not finite")
    if (labels == labels[0]).all():
        raise DataError(f"{raw.name}: all samples have one label")
    return classes


def finite(inputs: ArrayInputs, name: str) -> None:
    """Raise a `DataError` if a sample is empty or has a value that is not finite."""
    array = inputs.array
    if len(array) == 0:
        raise DataError(f"{name}: no samples")
    if array[0].size == 0:
        raise DataError(f"{name}: samples of shape {array.shape[1:]} hold nothing")
    if array.dtype != np.uint8 and not np.isfinite(array).all():
        where = int(np.argmax(~np.isfinite(array).reshape(len(array), -1).all(1)))
        raise DataError(f"{name}: sample {where} has a value that is not finite")


def _classes(raw: RawData) -> int:
    labels = raw.labels.astype(np.int64)
    counts = np.bincount(labels) if labels.min() >= 0 and labels.max() < _MOST_CLASSES else None
    if counts is None or (counts == 0).any():
        # A class without samples means that a larger label is out of range.
        wrong = labels.min() if labels.min() < 0 else labels.max()
        where = int(np.flatnonzero(labels == wrong)[0])
        raise DataError(
            f"{raw.name}: label {wrong} of sample {where} is out of range;"
            " labels are 0 to n-1, each with samples"
        )
    return len(counts)
