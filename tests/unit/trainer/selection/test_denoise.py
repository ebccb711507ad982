"""Planted label noise is left out, by itself or before any other selector."""

import pytest
import torch

from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.selection import noise, scored
from comptroller_trainer.selection.denoise import Denoise
from comptroller_trainer.selection.geometry import KCenter
from support.selection import COUNT, context, fitted, table


def test_denoise_leaves_out_the_planted_label_noise() -> None:
    samples, wrong = table(noisy=90)
    kept = fitted(Denoise, samples).indices_
    left_out = torch.ones(COUNT, dtype=torch.bool)
    left_out[kept] = False
    assert (left_out & wrong).sum() > 0.9 * wrong.sum()
    assert (left_out & ~wrong).sum() < 0.03 * COUNT


def test_clean_gives_any_selector_what_denoise_leaves() -> None:
    samples, wrong = table(noisy=90)
    dirty, clean = (fitted(scored.El2n, samples, keep=0.2, clean=clean) for clean in (False, True))
    assert wrong[dirty.indices_].float().mean() > 0.6
    assert wrong[clean.indices_].float().mean() < 0.1
    assert clean.scores_[~torch.isfinite(clean.scores_)].numel() > 70


def test_noise_needs_classes() -> None:
    with pytest.raises(AssignmentError, match=r"data\.clean: .true. needs classes"):
        fitted(KCenter, table()[0], context(classes=0), clean=True)
    samples, _ = table()
    one_class = samples.labels * 0
    found, _ = noise.issues(samples.inputs, one_class, context(), 1)
    assert not bool(found.any())
