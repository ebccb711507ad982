"""A table of three clusters, and selectors that are fitted to it."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.stages.base import Context

CLASSES, FEATURES, COUNT = 3, 8, 600


def context(classes: int = CLASSES, seed: int = 0, epochs: int = 8, **changes: Any) -> Context:
    return Context(seed, epochs, classes, (FEATURES,), torch.device("cpu"), Path(), **changes)


def table(noisy: int = 0) -> tuple[Samples, Tensor]:
    """Three clusters; the labels of `noisy` samples are moved on by one. Which they are comes along."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(COUNT) % CLASSES
    centres = torch.eye(CLASSES, FEATURES) * 4
    inputs = centres[labels] + torch.randn(COUNT, FEATURES, generator=generator)
    wrong = torch.zeros(COUNT, dtype=torch.bool)
    wrong[torch.randperm(COUNT, generator=generator)[:noisy]] = True
    return Samples(inputs, torch.where(wrong, (labels + 1) % CLASSES, labels)), wrong


def fitted(kind: Any, samples: Samples, given: Context | None = None, **parameters: Any) -> Any:
    return kind(kind.Parameters(**parameters)).fit(samples, given or context())
