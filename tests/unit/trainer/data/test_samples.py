"""Samples know the moments of their training split."""

import torch

from comptroller_trainer.data.samples import Dataset, Samples


def test_moments_are_those_of_the_training_split() -> None:
    inputs = torch.randint(0, 256, (1000, 3, 5, 5), dtype=torch.uint8)
    inputs[:, 2] = 7
    labels = torch.zeros(1000, dtype=torch.int64)
    dataset = Dataset(Samples(inputs, labels), Samples(inputs[:1], labels[:1]), 2, torch.arange(1000))
    mean, deviation = dataset.moments(chunk=64)
    values = inputs.double()
    assert torch.allclose(mean.double(), values.mean((0, 2, 3)), rtol=1e-5)
    assert torch.allclose(deviation[:2].double(), values.std((0, 2, 3), correction=0)[:2], rtol=1e-5)
    assert deviation[2] == 1  # never varies
