"""Selectors that watch losses stay unbiased and favour the samples that they should."""

from typing import Any

import pytest
import torch
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection.watching import Importance, InfoBatch, Reweight, inclusion_probabilities
from support.selection import CLASSES, FEATURES, fitted


def watched(kind: Any, losses: Tensor, **parameters: Any) -> Any:
    split = Samples(torch.zeros(len(losses), FEATURES), torch.arange(len(losses)) % CLASSES)
    selector = fitted(kind, split, **parameters)
    selector.observe(torch.arange(len(losses)), losses)
    return selector


def test_infobatch_drops_the_easy_and_keeps_the_expected_gradient() -> None:
    losses = torch.cat([torch.full((70,), 0.1), torch.full((30,), 3.0)])
    selector = watched(InfoBatch, losses, keep=0.6)
    sums = torch.zeros(100)
    for epoch in range(7):
        found = selector.select(epoch)
        assert len(found.indices) == 60
        assert set(range(70, 100)) <= set(found.indices.tolist())
        hard = found.indices >= 70
        assert bool((found.weights[hard] == 1).all())
        assert bool((found.weights[~hard] == 70 / 30).all())
        sums[found.indices] += found.weights
    assert sums.sum() == pytest.approx(700)
    last = selector.select(7)
    assert (last.indices.tolist(), last.weights) == (list(range(100)), None)


def test_infobatch_knows_nothing_at_first_and_stays_unbiased() -> None:
    split = Samples(torch.zeros(100, FEATURES), torch.zeros(100, dtype=torch.int64))
    found = fitted(InfoBatch, split, keep=0.3).select(0)
    assert len(found.indices) == 30
    assert found.weights.sum() == pytest.approx(100, rel=1e-5)
    sure = found.indices[found.weights == 1]  # 22 that stay whatever is drawn, themselves at random
    assert len(sure) == 22
    assert sure.min() < 50


def test_importance_sampling_is_unbiased() -> None:
    losses = torch.rand(200, generator=torch.Generator().manual_seed(0)) ** 4
    selector = watched(Importance, losses, keep=0.25)
    found = [selector.select(epoch) for epoch in range(400)]
    assert {len(selection.indices) for selection in found} == {50}
    means = torch.stack([(s.weights * losses[s.indices]).mean() for s in found])
    assert means.mean() == pytest.approx(float(losses.mean()), rel=0.02)
    uniform = torch.stack(
        [
            losses[torch.randperm(200, generator=torch.Generator().manual_seed(e))[:50]].mean()
            for e in range(400)
        ]
    )
    assert means.std() < 0.5 * uniform.std()


def test_inclusion_probabilities_sum_to_the_count_and_none_is_above_one() -> None:
    scores = torch.tensor([100.0, 50.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    found = inclusion_probabilities(scores, 3)
    assert found.tolist() == pytest.approx([1, 1, 1 / 3, 1 / 3, 1 / 3])
    assert inclusion_probabilities(scores, 5).tolist() == pytest.approx([1] * 5)


def test_reweight_favours_the_hard_or_the_easy() -> None:
    losses = torch.tensor([0.1, 0.1, 2.0, 0.2])
    hard, easy = (watched(Reweight, losses, tilt=tilt).select(0).weights for tilt in (1, -1))
    assert hard.argmax() == easy.argmin() == 2
    assert hard.sum() == pytest.approx(4)
    assert easy.sum() == pytest.approx(4)
