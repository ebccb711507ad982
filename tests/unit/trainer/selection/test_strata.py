"""Selectors over strata keep the share of each class or bin."""

import torch

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection import strata
from support.selection import COUNT, FEATURES, context, fitted, table


def test_ccs_covers_every_bin_and_leaves_out_the_hardest() -> None:
    samples, wrong = table(noisy=60)
    ccs = fitted(strata.Ccs, samples, keep=0.3, beta=0.15, bins=10, within="all")
    assert len(ccs.indices_) == 180
    assert wrong[ccs.indices_].float().mean() < 0.05
    # Evenly over the score: bins that are small are taken whole.
    left = ccs.scores_.argsort(descending=True)[: COUNT - round(0.15 * COUNT)]
    values = ccs.scores_[left]
    bins = ((values - values.min()) / (values.max() - values.min()) * 10).long().clamp_max(9)
    chosen = torch.isin(left, ccs.indices_)
    for number in bins.unique().tolist():
        members = chosen[bins == number]
        assert members.sum() >= min(len(members), 180 // 10) - 1
    assert len(fitted(strata.Ccs, samples, keep=1.0).indices_) == COUNT


def test_ccs_within_classes_keeps_the_share_of_each() -> None:
    samples, wrong = table(noisy=60)
    ccs = fitted(strata.Ccs, samples, keep=0.3, beta=0.15)
    shares = samples.labels.bincount() * 0.3
    assert ((samples.labels[ccs.indices_].bincount() - shares).abs() < 1).all()
    assert wrong[ccs.indices_].float().mean() < 0.05


def test_even_quotas_hand_on_what_small_strata_cannot_use() -> None:
    assert strata.even(torch.tensor([2, 100, 50, 0]), 62).tolist() == [2, 30, 30, 0]
    assert strata.even(torch.tensor([3, 3]), 6).tolist() == [3, 3]


def test_stratified_keeps_each_class_share() -> None:
    labels = torch.tensor([0] * 100 + [1] * 50 + [2] * 10)
    chosen = fitted(strata.Stratified, Samples(torch.zeros(160, FEATURES), labels), keep=0.1).indices_
    assert labels[chosen].bincount().tolist() == [10, 5, 1]
    numbers = torch.randn(200, generator=torch.Generator().manual_seed(0))
    split = Samples(torch.zeros(200, FEATURES), numbers)
    tenths = (
        numbers.argsort().argsort()[fitted(strata.Stratified, split, context(0), keep=0.1).indices_] // 20
    )
    assert tenths.bincount().tolist() == [2] * 10
