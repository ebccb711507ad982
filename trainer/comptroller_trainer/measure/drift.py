"""The profile of a model's inputs and outputs in training, and the distance of new ones from it.

docs/reference/measure.md has the formulas.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from comptroller_api.data import Data
from comptroller_trainer.data.load import feature_names
from comptroller_trainer.data.manifest import PreprocessingStep, Record
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.stages.modality import TABLE

_BINS = 10
_SAMPLES, _POSITIONS = 10_000, 100
"""Samples of a split, and positions of a sample, at most; evenly spaced."""
_FLOOR = 1e-4
"""The share of an empty bin, whose logarithm would be infinite."""


class Histogram(Record):
    """The histogram of one feature, channel or output."""

    name: str
    edges: list[float] = Field(description="Upper ends of all bins but the last; an edge is in its bin.")
    shares: list[float] = Field(description="Of the values, one more than edges.")


class DriftProfile(Record):
    """`drift.json`: the distributions of a model's training data and of its answers."""

    data: dict[str, Any] = Field(description="How training data were read; the study's, without where from.")
    shape: list[int] = Field(description="Of one sample.")
    preprocessing: list[PreprocessingStep]
    training: int = Field(description="Samples that inputs are of.")
    validation: int = Field(description="Samples that outputs are of.")
    inputs: list[Histogram]
    outputs: list[Histogram]


class DriftResult(NamedTuple):
    """The distance of new values from the profile's."""

    name: str
    psi: float
    ks: float
    chance: float
    """The PSI to expect of as many samples if nothing has changed."""


def drift_profile(dataset: Dataset, outputs: NDArray[np.float32], data: Data) -> DriftProfile:
    """Return the profile of a model of `dataset`.

    Args:
        dataset: its training samples, less those that were made up, are the inputs.
        outputs: (n, outputs), the model's for the validation split.
        data: how the samples were read.
    """
    real = dataset.train_index >= 0
    inputs = dataset.train.inputs if real.all() else dataset.train.inputs[real]
    steps = dataset.manifest.preprocessing if dataset.manifest else []
    read = data.model_copy(update={"uri": None, "sources": None, "manifest": None})
    return DriftProfile(
        data=read.to_json(),
        shape=list(dataset.shape),
        preprocessing=steps,
        training=len(inputs),
        validation=len(outputs),
        inputs=[
            _histogram(name, values, _edges(values))
            for name, values in zip(_names(dataset.shape, steps), _values(inputs), strict=True)
        ],
        outputs=[
            _histogram(name, values, np.arange(dataset.classes - 1.0) if name == _CLASS else _edges(values))
            for name, values in _answers(outputs).items()
        ],
    )


def drift_results(
    was: DriftProfile, inputs: Tensor, missing: Mapping[str, float], outputs: NDArray[np.float32] | None
) -> Iterator[DriftResult]:
    """Yield the difference of each feature or channel, of missing values by column, and of the answers.

    Args:
        was: the model's profile.
        inputs: (n, *shape), as the model takes them.
        missing: share of the new samples without a value, by column.
        outputs: (n, outputs), the model's; None: the model is not available.
    """
    samples = 1 / min(len(inputs), _SAMPLES) + 1 / min(was.training, _SAMPLES)
    for old, values in zip(was.inputs, _values(inputs), strict=True):
        yield _difference(old, values, samples)
    for step in was.preprocessing:
        now = missing.get(step.column, 0.0)
        if step.missing or now:
            shares = (np.array([share, 1 - share]) for share in (step.missing, now))
            yield DriftResult(f"{step.column}: missing", *_distances(*shares), samples)
    if outputs is not None:
        answers = _answers(outputs)
        for old in was.outputs:
            yield _difference(old, answers[old.name], 1 / len(outputs) + 1 / was.validation)


_CLASS, _CONFIDENCE, _NUMBER = "predicted class", "confidence", "prediction"


def _answers(outputs: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    if outputs.shape[1] == 1:
        return {_NUMBER: outputs[:, 0].astype(np.float64)}
    values = outputs.astype(np.float64)
    chance = np.exp(values - values.max(1, keepdims=True))
    return {
        _CLASS: values.argmax(1).astype(np.float64),
        _CONFIDENCE: chance.max(1) / chance.sum(1),
    }


def _names(shape: Sequence[int], steps: list[PreprocessingStep]) -> list[str]:
    if len(shape) == TABLE and steps:
        return feature_names(steps)
    return [f"{'feature' if len(shape) == TABLE else 'channel'} {at}" for at in range(shape[0])]


def _values(inputs: Tensor) -> NDArray[np.float64]:
    """Return values (c, k) of inputs (n, c, ...)."""
    flat = inputs.reshape(len(inputs), inputs.shape[1], -1)
    samples, places = _spaced(len(flat), _SAMPLES), _spaced(flat.shape[2], _POSITIONS)
    taken = flat[samples[:, None], :, places[None]]  # (samples, places, c)
    values: NDArray[np.float64] = taken.flatten(0, 1).T.double().numpy()
    return values


def _spaced(count: int, most: int) -> Tensor:
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()


def _edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distinct deciles; every value but the last if there are at most ten."""
    distinct = np.unique(values)
    if len(distinct) <= _BINS:
        return distinct[:-1]
    deciles = np.quantile(values, np.arange(1, _BINS) / _BINS)
    # A last bin without values could not separate most values from the few below.
    return np.unique(np.minimum(deciles, distinct[-2]))


def _histogram(name: str, values: NDArray[np.float64], edges: NDArray[np.float64]) -> Histogram:
    return Histogram(name=name, edges=edges.tolist(), shares=_shares(values, edges).tolist())


def _shares(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    place = np.searchsorted(edges, values, side="left")
    return np.bincount(place, minlength=len(edges) + 1) / len(values)


def _difference(old: Histogram, values: NDArray[np.float64], samples: float) -> DriftResult:
    """Return the difference; `samples` is 1/n + 1/m, which each bin but one adds to the PSI by chance."""
    edges = np.array(old.edges)
    distances = _distances(np.array(old.shares), _shares(values, edges))
    return DriftResult(old.name, *distances, len(edges) * samples)


def _distances(old: NDArray[np.float64], new: NDArray[np.float64]) -> tuple[float, float]:
    """Return the population stability index, and Kolmogorov and Smirnov's distance at the edges."""
    ks = float(np.abs(np.cumsum(new - old)).max())
    old, new = np.maximum(old, _FLOOR), np.maximum(new, _FLOOR)
    return float(((new - old) * np.log(new / old)).sum()), ks
