"""Find leakage from training into validation; findings are reported, not forbidden.

All checks are bounded, since each trial pays for them: `Leakage.checked` has what each looked at.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from comptroller_trainer.data.manifest import Leakage, LeakageFinding
from comptroller_trainer.data.source import Codes, Numbers
from comptroller_trainer.data.split import words
from comptroller_trainer.seeds import derive

_TRAINING, _VALIDATION = 16_384, 2_048
"""Samples at most that are compared with one another for near duplicates."""
_BYTES = 1 << 29
_PROJECTED = 64
_NEAR = 0.1
"""A near duplicate's distance, where 1 is that of two samples drawn at random."""
_PIXELS = 16
_LEAST_FEATURES = 16
"""Features at least: with fewer, neighbours are near without being copies."""
_FEATURES, _ROWS, _BINS = 256, 8_192, 64
_KNOWN = 0.99
"""Balanced accuracy, or R², of a single feature at which it is taken to know the label."""
_SHOWN = 5


@dataclass(frozen=True)
class SplitSide:
    """One side of the split."""

    inputs: Numbers
    labels: NDArray[np.int64] | NDArray[np.float32]
    index: NDArray[np.int64]
    """(n,): places in the source."""


def inspect(
    train: SplitSide,
    validation: SplitSide,
    classes: int,
    *,
    group: Codes | None = None,
    time: NDArray[np.float64] | NDArray[np.int64] | None = None,
    feature_names: list[str],
) -> Leakage:
    """Find duplicates, groups on both sides, training later than validation, features that know the label.

    Args:
        train: what training sees.
        validation: likewise.
        classes: 0: regression.
        group: of each sample of the source.
        time: of each sample of the source, (n,).
        feature_names: of a table; else empty, or too few.
    """
    checked: dict[str, str] = {}
    findings = _exact(train, validation, checked)
    findings += _near(train, validation, checked, {e for f in findings for e in f.examples})
    if group is not None:
        findings += _groups(train, validation, group, checked)
    if time is not None:
        findings += _later(train, validation, time, checked)
    if train.inputs.ndim == 2:  # noqa: PLR2004 - a table: (n, columns)
        findings += _known(train, validation, classes, feature_names, checked)
    return Leakage(checked=checked, findings=findings)


def _pair(validation: object, train: object) -> str:
    return f"validation sample {validation} and training sample {train}"


def _finding(kind: str, of: int, examples: Iterable[str]) -> list[LeakageFinding]:
    found = list(examples)
    if not found:
        return []
    return [
        LeakageFinding.model_validate(
            {"kind": kind, "count": len(found), "of": of, "examples": found[:_SHOWN]}
        )
    ]


def _exact(train: SplitSide, validation: SplitSide, checked: dict[str, str]) -> list[LeakageFinding]:
    """Find samples of equal bytes and, among those, the pairs whose labels differ."""
    checked["exact_duplicates"] = f"all {len(train.index)} training and {len(validation.index)} validation"
    seen, held = _hashes(train.inputs), _hashes(validation.inputs)
    order = np.argsort(seen, kind="stable")
    first = order[np.minimum(np.searchsorted(seen[order], held), len(order) - 1)]
    pairs = [
        (int(v), int(t))
        for v, t in ((v, first[v]) for v in np.flatnonzero(seen[first] == held))
        if np.array_equal(validation.inputs[v], train.inputs[t])
    ]
    odd = [(v, t) for v, t in pairs if validation.labels[v] != train.labels[t]]
    of = len(validation.index)
    return [
        *_finding("exact_duplicates", of, (_pair(validation.index[v], train.index[t]) for v, t in pairs)),
        *_finding("conflicting_labels", of, (_pair(validation.index[v], train.index[t]) for v, t in odd)),
    ]


def _hashes(inputs: Numbers) -> NDArray[np.uint64]:
    """Return (n,): for each sample, the sum of its words times random odd ones, modulo 2^64."""
    size = int(np.prod(inputs.shape[1:])) * inputs.itemsize
    word = next(word for word in (8, 4, 1) if size % word == 0)
    factors = words(size // word, derive(0, "leakage", "hash")) | np.uint64(1)
    parts = []
    chunks = min(len(inputs), max(1, len(inputs) * size >> 24))
    for chunk in np.array_split(np.arange(len(inputs)), chunks):
        rows = np.ascontiguousarray(inputs[chunk[0] : chunk[-1] + 1]).reshape(len(chunk), -1)
        parts.append((rows.view(f"u{word}") * factors).sum(1, dtype=np.uint64))
    return np.concatenate(parts)


def _near(
    train: SplitSide, validation: SplitSide, checked: dict[str, str], known: set[str]
) -> list[LeakageFinding]:
    """Find near duplicates by distance, first after a random projection (Johnson and Lindenstrauss, 1984).

    Images are shrunk to 16 x 16 first, so that a copy in another encoding is found too.
    """
    features = int(np.prod(train.inputs.shape[1:]))
    if features < _LEAST_FEATURES:
        return []
    room = _BYTES // (train.inputs.itemsize * features)
    ours = _sample(len(validation.index), max(2, min(_VALIDATION, room // 5)), "validation")
    theirs = _sample(len(train.index), max(2, min(_TRAINING, room)), "train")
    checked["near_duplicates"] = f"{len(theirs)} training and {len(ours)} validation"
    left, right = _small(validation.inputs, ours), _small(train.inputs, theirs)
    centre = right.mean(0)
    left, right = left - centre, right - centre
    if train.inputs.ndim == 2:  # noqa: PLR2004 - columns have units of their own
        scale = right.square().mean(0).sqrt().clamp_min(1e-6)
        left, right = left / scale, right / scale
    typical = float(2 * right.square().sum(1).mean())
    if typical == 0:
        return []
    drawn = torch.Generator().manual_seed(derive(0, "leakage"))
    matrix = torch.randn(left.shape[1], min(_PROJECTED, left.shape[1]), generator=drawn)
    matrix = matrix / matrix.shape[1] ** 0.5 if left.shape[1] > _PROJECTED else torch.eye(left.shape[1])
    far, projected = _NEAR**2 * typical, right @ matrix
    examples = []
    for start in range(0, len(left), 512):
        part = left[start : start + 512]
        # Projected distances are within half of the true ones but for a vanishing few.
        nearest = torch.cdist(part @ matrix, projected).min(1)
        close = torch.nonzero(nearest.values.square() <= 2 * far).flatten()
        exact = (part[close] - right[nearest.indices[close]]).square().sum(1)
        for place, distance in zip(close.tolist(), exact.tolist(), strict=True):
            pair = _pair(
                validation.index[ours[start + place]], train.index[theirs[int(nearest.indices[place])]]
            )
            if 0 < distance <= far and pair not in known:
                examples.append(pair)
    return _finding("near_duplicates", len(ours), examples)


def _sample(samples: int, most: int, place: str) -> NDArray[np.int64]:
    if samples <= most:
        return np.arange(samples, dtype=np.int64)
    drawn = words(samples, derive(0, "leakage", place))
    return np.sort(np.argsort(drawn, kind="stable")[:most]).astype(np.int64)


def _small(inputs: Numbers, index: NDArray[np.int64]) -> torch.Tensor:
    """Return the samples at `index` as (k, features) float32."""
    parts = []
    for chunk in np.array_split(index, max(1, len(index) // 1024)):
        part = torch.from_numpy(np.ascontiguousarray(inputs[chunk])).float()
        if part.ndim == 4:  # noqa: PLR2004 - images: (n, channels, height, width)
            size = (min(_PIXELS, part.shape[2]), min(_PIXELS, part.shape[3]))
            part = functional.adaptive_avg_pool2d(part, size)
        parts.append(part.flatten(1))
    return torch.cat(parts)


def _groups(
    train: SplitSide, validation: SplitSide, group: Codes, checked: dict[str, str]
) -> list[LeakageFinding]:
    ours = np.unique(group.codes[validation.index])
    checked["groups"] = f"all {len(group.names)}"
    both = ours[np.isin(ours, group.codes[train.index])]
    return _finding("groups", len(ours), (f"group {group.names[code]!r} is on both sides" for code in both))


def _later(
    train: SplitSide,
    validation: SplitSide,
    time: NDArray[np.float64] | NDArray[np.int64],
    checked: dict[str, str],
) -> list[LeakageFinding]:
    """Find training samples taken after the first of validation; a model in use has no such samples."""
    checked["time"] = "all"
    first = time[validation.index].min()
    later = train.index[time[train.index] > first]
    examples = (f"training sample {place} is later than the first validation sample" for place in later)
    return _finding("time", len(train.index), examples)


def _known(
    train: SplitSide, validation: SplitSide, classes: int, names: list[str], checked: dict[str, str]
) -> list[LeakageFinding]:
    """Find features that alone, cut into at most 64 bins of training, almost give the label."""
    ours, theirs = (
        _sample(len(side.index), _ROWS, f"rows {place}") for place, side in enumerate((validation, train))
    )
    features = min(_FEATURES, train.inputs.shape[1])
    checked["label_known"] = (
        f"{features} of {train.inputs.shape[1]} features, {len(theirs)} training and {len(ours)} validation"
    )
    examples = []
    for feature in range(features):
        score = _alone(
            train.inputs[theirs, feature], train.labels[theirs],
            validation.inputs[ours, feature], validation.labels[ours], classes,
        )  # fmt: skip
        if score >= _KNOWN:
            name = names[feature] if feature < len(names) else f"feature {feature}"
            examples.append(f"{name}: {'balanced accuracy' if classes else 'R²'} {score:.3f} alone")
    return _finding("label_known", features, examples)


def _alone(
    seen: Numbers, labels: NDArray[np.generic], unseen: Numbers, wanted: NDArray[np.generic], classes: int
) -> float:
    """Return the balanced accuracy, or R², of predicting a bin's most frequent class, or its mean."""
    values = np.unique(seen)
    if len(values) > _BINS:
        values = np.unique(np.quantile(seen, np.linspace(0, 1, _BINS + 1)[:-1], method="lower"))
    bins = np.clip(np.searchsorted(values, seen, "right") - 1, 0, None)
    places = np.clip(np.searchsorted(values, unseen, "right") - 1, 0, None)
    if classes:
        table = np.zeros((len(values), classes), np.int64)
        np.add.at(table, (bins, labels.astype(np.int64)), 1)
        right = table.argmax(1)[places] == wanted
        of = np.bincount(wanted.astype(np.int64), minlength=classes)
        hit = np.bincount(wanted.astype(np.int64), right, minlength=classes)
        return float((hit[of > 0] / of[of > 0]).mean())
    target = wanted.astype(np.float64)
    count = np.bincount(bins, minlength=len(values))
    mean = np.bincount(bins, labels.astype(np.float64), minlength=len(values)) / np.maximum(count, 1)
    spread = np.square(target - target.mean()).sum()
    return float(1 - np.square(target - mean[places]).sum() / spread) if spread else 0.0
