"""Selectors by distance find duplicates, cover the samples and keep their means."""

import pytest
import torch
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection import geometry, proxy
from comptroller_trainer.selection.geometry import Dedup, Herding, KCenter, near_duplicates
from comptroller_trainer.selection.signals import signals
from support.selection import CLASSES, COUNT, FEATURES, context, fitted, table


def test_dedup_removes_planted_duplicates_and_nothing_else() -> None:
    samples, _ = table()
    generator = torch.Generator().manual_seed(3)
    copied = torch.randperm(COUNT, generator=generator)[:50]
    inputs = torch.cat([samples.inputs, samples.inputs[copied] + 1e-3 * torch.randn(50, FEATURES)])
    labels = torch.cat([samples.labels, samples.labels[copied]])
    kept = fitted(Dedup, Samples(inputs, labels)).indices_
    assert kept.tolist() == list(range(COUNT))


@pytest.mark.parametrize("count", [1, 2, 40])
def test_of_equal_samples_the_first_stays(count: int) -> None:
    found = near_duplicates(torch.ones(count, 5), 0.1, torch.Generator().manual_seed(0))
    assert found.tolist() == [False] + [True] * (count - 1)


def covering_radius(points: Tensor, chosen: Tensor) -> float:
    return float(torch.cdist(points, points[chosen]).amin(1).max())


def test_k_center_covers_better_than_chance_and_as_the_plain_greedy_does() -> None:
    samples, _ = table()
    points = signals(proxy.shrunk(samples), samples.labels, context(), 4)["embeddings"]
    chosen = fitted(KCenter, samples, keep=0.05).indices_
    random = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))[:30]
    assert covering_radius(points, chosen) < 0.8 * covering_radius(points, random)
    start = int((points - points.mean(0)).norm(dim=1).argmin())
    greedy = [start]
    for _ in range(29):
        greedy.append(int(torch.cdist(points, points[greedy]).amin(1).argmax()))
    plain = covering_radius(points, torch.tensor(greedy))
    assert covering_radius(points, chosen) <= 1.1 * plain


def test_herding_keeps_each_class_mean() -> None:
    samples, _ = table()
    points = signals(proxy.shrunk(samples), samples.labels, context(), 4)["embeddings"]
    chosen = fitted(Herding, samples, keep=0.05).indices_
    random = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))[:30]

    def distance(index: Tensor) -> float:
        of_class = [index[samples.labels[index] == label] for label in range(CLASSES)]
        means = [points[samples.labels == label].mean(0) for label in range(CLASSES)]
        return sum(float((points[i].mean(0) - m).norm()) for i, m in zip(of_class, means, strict=True))

    assert samples.labels[chosen].bincount().tolist() == [10, 10, 10]
    assert distance(chosen) < 0.3 * distance(random)


def test_blocks_do_what_one_block_does(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, _ = table()
    whole = fitted(KCenter, samples, keep=0.1).indices_
    monkeypatch.setattr(geometry, "_BLOCK", 128)
    parts = fitted(KCenter, samples, keep=0.1).indices_
    points = signals(proxy.shrunk(samples), samples.labels, context(), 4)["embeddings"]
    assert len(parts) == len(whole) == 60
    assert covering_radius(points, parts) < 2 * covering_radius(points, whole)
