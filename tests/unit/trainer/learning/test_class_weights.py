"""Class weights are one on average."""

import pytest
import torch

from comptroller_trainer.learning.class_weights import class_weights


def test_class_weights_are_one_on_average_and_higher_for_the_rare() -> None:
    labels = torch.tensor([0] * 900 + [1] * 100)
    for method in ("balanced", "effective"):
        weights = class_weights(labels, 3, method)
        assert weights[labels].mean() == pytest.approx(1.0)
        assert weights[1] > weights[0] > 0
        assert weights[2] == 0
    assert class_weights(labels, 2, "balanced").tolist() == pytest.approx([5 / 9, 5.0])
    effective = class_weights(labels, 2, "effective")
    assert effective[1] / effective[0] == pytest.approx((1 - 0.999**900) / (1 - 0.999**100), rel=1e-5)
    assert class_weights(labels, 2, "none").tolist() == [1.0, 1.0]
