"""Samples in memory, and the splits that a trial sees."""

from dataclasses import dataclass

import torch
from torch import Tensor

from comptroller_trainer.data.manifest import DataManifest


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs and their labels, in the same order."""

    inputs: Tensor
    """(n, *shape), uint8 or float32; kept in this type, since bytes are a quarter of floats.
    May be a mapped file."""
    labels: Tensor
    """(n,), int64 classes or float32 numbers."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> "Samples":
        """Return the samples at `index`, (k,) int64, in the order of `index`."""
        return Samples(self.inputs[index], self.labels[index])

    def to(self, device: torch.device) -> "Samples":
        """Return the samples on `device`."""
        return Samples(self.inputs.to(device), self.labels.to(device))


@dataclass(frozen=True, slots=True)
class Dataset:
    """The splits that a search may see; the test split is never read (P8)."""

    train: Samples
    validation: Samples
    classes: int
    """0: regression."""
    train_index: Tensor
    """(len(train),), int64: each training sample's place in the source's training file, or in the sources'
    one after another."""
    group: Tensor | None = None
    """(len(train),), int64: the code of each training sample's slice, or else of its group."""
    source: Tensor | None = None
    """(len(train),), int64: which source of a mixture each training sample is from."""
    slices: Tensor | None = None
    """(len(validation),), int64: the code of each validation sample's slice."""
    slice_names: tuple[str, ...] = ()
    manifest: DataManifest | None = None
    """None only if the data set was made, not loaded."""

    @property
    def outputs(self) -> int:
        """The number of a model's outputs: a logit a class, or one number."""
        return self.classes or 1

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.train.inputs.shape[1:])

    def moments(self, chunk: int = 4096) -> tuple[Tensor, Tensor]:
        """Return the `moments` of the training split; a channel that never varies has deviation 1."""
        mean, deviation = moments(self.train.inputs, chunk)
        return mean, torch.where(deviation < 1e-6, 1.0, deviation)  # noqa: PLR2004 - rounding


def moments(inputs: Tensor, chunk: int = 4096) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of `inputs` (n, c, ...) by channel or feature, each float32 (c,)."""
    count = 0
    total = squares = torch.zeros(inputs.shape[1], dtype=torch.float64)
    for part in torch.split(inputs, chunk):
        values = part.float().transpose(0, 1).flatten(1)  # (c, samples * positions)
        count += values.shape[1]
        total = total + values.sum(1, dtype=torch.float64)
        squares = squares + values.square().sum(1, dtype=torch.float64)
    mean = total / count
    return mean.float(), (squares / count - mean.square()).clamp_min(0).sqrt().float()
