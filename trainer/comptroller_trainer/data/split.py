"""Split off validation samples as the data and a seed alone decide, the same in every version."""

import numpy as np
from numpy.typing import NDArray

from comptroller_trainer.seeds import derive

Index = NDArray[np.int64]
_STRATA = 10


def words(count: int, key: int) -> NDArray[np.uint64]:
    """Return `count` random words for `key`, the same with every version of numpy."""
    # Philox is specified and stable across numpy's versions, as the order of `permutation` is not promised
    # to be: sorting raw words is.
    return np.random.Philox(key=key).random_raw(count)


def stratified(labels: Index, fraction: float, seed: int) -> tuple[Index, Index]:
    """Return indices for training and for validation, each ascending; every class is in both.

    Args:
        labels: (n,).
        fraction: of each class, held out for validation, 0 to 1.
        seed: decides which; the same labels and seed always give the same split.

    Raises:
        ValueError: a class has fewer than two samples.
    """
    _none_alone(labels)
    held = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        drawn = words(len(members), derive(seed, "split", int(label)))
        count = min(max(1, round(len(members) * fraction)), len(members) - 1)
        held.append(members[np.argsort(drawn, kind="stable")[:count]])
    return _sides(np.concatenate(held), len(labels))


def strata(labels: NDArray[np.float32]) -> Index:
    """Return (n,): the tenth that each number is in, so that `stratified` fits a regression too."""
    ranks = np.argsort(np.argsort(labels, kind="stable"), kind="stable")
    count = max(1, min(_STRATA, len(labels) // 2))
    return (ranks * count // len(labels)).astype(np.int64)


def at_random(labels: Index, fraction: float, seed: int) -> tuple[Index, Index]:
    """Split like `stratified`, but independent of labels; every class is in training.

    Raises:
        ValueError: a class is in validation alone, or has fewer than two samples.
    """
    _none_alone(labels)
    order = np.argsort(words(len(labels), derive(seed, "split")), kind="stable")
    held = order[: min(max(1, round(len(labels) * fraction)), len(labels) - 1)]
    return _every_class_is_learned(labels, _sides(held, len(labels)))


def by_group(labels: Index, fraction: float, seed: int, group: Index) -> tuple[Index, Index]:
    """Hold out whole groups, drawn while they fit; a group that training needs for a class stays.

    Args:
        labels: (n,); all 0 for a regression.
        fraction: of the samples, held out at most, but one group at least: the smallest where none fits.
        seed: decides which.
        group: (n,), codes from 0.

    Raises:
        ValueError: no group can be held out, or a class has fewer than two samples.
    """
    _none_alone(labels)
    target = max(1, round(len(labels) * fraction))
    table = np.zeros((int(group.max()) + 1, int(labels.max()) + 1), np.int64)
    np.add.at(table, (group, labels), 1)
    left, sizes = table.sum(0), table.sum(1)
    drawn = np.argsort(words(len(table), derive(seed, "split", "group")), kind="stable")
    spared = [c for c in drawn.tolist() if sizes[c] and ((left > table[c]) | (table[c] == 0)).all()]
    if not spared:
        raise ValueError("cannot be held out: without any one group, training would lack a class")
    held: list[int] = []
    for code in spared:
        row = table[code]
        if sizes[held].sum() + sizes[code] <= target and ((left > row) | (row == 0)).all():
            held.append(code)
            left = left - row
    held = held or [min(spared, key=lambda code: sizes[code])]
    return _sides(np.flatnonzero(np.isin(group, held)), len(labels))


def by_time(labels: Index, fraction: float, time: NDArray[np.float64] | Index) -> tuple[Index, Index]:
    """Hold out the latest samples; those taken at the same moment are on one side.

    Raises:
        ValueError: all were taken at once, or a class is in validation alone.
    """
    ordered = np.sort(time)
    count = min(max(1, round(len(time) * fraction)), len(time) - 1)
    last = ordered[len(time) - count - 1]
    if last == ordered[-1]:  # more than `count` at the last moment: fewer are left for training
        earlier = ordered[ordered < last]
        if not len(earlier):
            raise ValueError("cannot be held out by time: all samples have the same")
        last = earlier[-1]
    return _every_class_is_learned(labels, _sides(np.flatnonzero(time > last), len(labels)))


def _none_alone(labels: Index) -> None:
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < 2:  # noqa: PLR2004 - one for each side
        raise ValueError(f"cannot be held out: class {classes[counts.argmin()]} has a single sample")


def _sides(held: Index, samples: int) -> tuple[Index, Index]:
    validation = np.sort(held).astype(np.int64)
    train = np.setdiff1d(np.arange(samples, dtype=np.int64), validation, assume_unique=True)
    return train, validation


def _every_class_is_learned(labels: Index, sides: tuple[Index, Index]) -> tuple[Index, Index]:
    _none_alone(labels)
    unlearned = np.setdiff1d(labels, labels[sides[0]])
    if len(unlearned):
        raise ValueError(f"cannot be held out so: class {unlearned[0]} would be in validation alone")
    return sides
