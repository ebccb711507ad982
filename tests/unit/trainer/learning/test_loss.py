"""Losses weigh classes and samples as their definitions do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from comptroller_trainer.learning.loss import criterion
from comptroller_trainer.learning.training import Training
from comptroller_trainer.stages.base import Context


def test_class_weights_make_the_rare_class_count() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10)
    context = Context(0, 1, 2, (4,), torch.device("cpu"), Path())
    loss = criterion(Training(class_weights="balanced"), labels, context)
    per_sample = loss(torch.zeros(2, 2), torch.tensor([0, 1]))
    assert per_sample[1] / per_sample[0] == pytest.approx(9, rel=1e-3)
    assert loss(torch.zeros(100, 2), labels).mean().item() == pytest.approx(np.log(2), rel=1e-4)


def test_the_focal_loss_without_focus_is_the_cross_entropy() -> None:
    context = Context(0, 1, 3, (4,), torch.device("cpu"), Path())
    logits, labels = torch.randn(20, 3), torch.arange(20) % 3

    def of(**recipe: Any) -> Callable[[Tensor, Tensor], Tensor]:
        return criterion(Training(**recipe), labels, context)

    for smoothing in (0.0, 0.2):
        plain, focal = (
            of(label_smoothing=smoothing),
            of(loss="focal", focal_gamma=0, label_smoothing=smoothing),
        )
        assert torch.allclose(plain(logits, labels), focal(logits, labels), atol=1e-6)
        mixed = nn.functional.one_hot(labels, 3).float()
        assert torch.allclose(plain(logits, mixed), plain(logits, labels), atol=1e-6)
    sure = torch.tensor([[8.0, 0, 0]])
    assert of(loss="focal")(sure, labels[:1]) < 0.01 * of()(sure, labels[:1])
