"""Small classes are drawn more often or filled up."""

from pathlib import Path

import pytest
import torch

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.selection.imbalance import Balanced, oversample
from comptroller_trainer.stages.base import Context
from support.selection import COUNT, FEATURES, context, fitted, table


def test_balanced_draws_each_class_as_often() -> None:
    labels = torch.tensor([0] * 90 + [1] * 9 + [3])
    split = Samples(torch.zeros(100, FEATURES), labels)
    selector = fitted(Balanced, split, context(4), keep=0.9)
    chosen = selector.select(0).indices
    assert labels[chosen].bincount().tolist() == [30, 30, 0, 30]
    assert chosen.bincount(minlength=100)[90:99].max() == 4
    assert len(chosen[labels[chosen] == 0].unique()) == 30
    as_is = fitted(Balanced, split, context(4), balance=0.0).select(0).indices
    assert sorted(as_is.tolist()) == list(range(100))
    assert not torch.equal(chosen, selector.select(1).indices)


def test_smote_fills_up_small_classes_and_says_what_is_synthetic() -> None:
    samples, _ = table()
    rare = torch.cat([torch.arange(0, COUNT, 3), torch.tensor([1, 4, 7, 10]), torch.tensor([2])])
    split = samples.take(rare)
    made, synthetic = oversample(split, context())
    assert made.labels.bincount().tolist() == [200, 200, 1]
    assert not bool(synthetic[: len(rare)].any())
    assert int(synthetic.sum()) == 196 == len(made) - len(rare)
    assert torch.equal(made.inputs[: len(rare)], split.inputs)
    points = split.inputs[split.labels == 1]
    assert torch.allclose(made.inputs[synthetic].mean(0), points.mean(0), atol=1.0)
    assert made.inputs[synthetic].amax() <= points.amax()
    assert torch.equal(made.inputs, oversample(split, context()).samples.inputs)
    assert not torch.equal(made.inputs, oversample(split, context(seed=1)).samples.inputs)
    with pytest.raises(AssignmentError, match="needs a table"):
        oversample(
            Samples(torch.zeros(4, 1, 8), torch.arange(4)),
            Context(0, 1, 4, (1, 8), torch.device("cpu"), Path()),
        )
