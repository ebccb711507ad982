"""Thresholds are tuned on validation, and are not credited with what they saw."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller_api.contract import Report
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.measure.quality import f1_macro
from comptroller_trainer.measure.thresholds import tuned

Attempt = Callable[..., Report]


def imbalanced(count: int, seed: int, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Logits that know little, and labels most of which are 0."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(count) < 0.9, 0, rng.integers(1, classes, count))
    logits = rng.normal(size=(count, classes))
    logits[np.arange(count), labels] += 1
    logits[:, 0] += 2
    return logits.astype(np.float32), labels


@given(st.integers(0, 2**32), st.integers(2, 60), st.booleans())
def test_two_classes_get_the_best_threshold_there_is(seed: int, count: int, coarse: bool) -> None:
    logits, labels = imbalanced(count, seed)
    if coarse:  # with ties, which no threshold can tell apart
        logits = logits.round()
    found = f1_macro((logits + tuned(logits, labels)).argmax(1), labels, 2)
    lead = np.unique(logits[:, 0] - logits[:, 1])
    tried = [*(lead + 1e-6), lead[0] - 1]
    every = [f1_macro((logits[:, 1] - logits[:, 0] + one > 0).astype(int), labels, 2) for one in tried]
    assert found == pytest.approx(max(every))


@given(st.integers(0, 2**32), st.integers(2, 6))
def test_no_class_alone_can_be_moved_for_more(seed: int, classes: int) -> None:
    logits, labels = imbalanced(40, seed, classes)
    offsets = tuned(logits, labels)

    def worth(at: np.ndarray) -> float:
        return f1_macro((logits + at).argmax(1), labels, classes)

    best = worth(offsets)
    assert best >= worth(np.zeros(classes))
    for one in np.eye(classes):
        assert max(worth(offsets + by * one) for by in np.linspace(-6, 6, 61)) <= best + 1e-9


def test_what_they_are_worth_is_of_samples_they_were_not_tuned_on(attempt: Attempt) -> None:
    report = attempt({"recipe.thresholds": "f1_macro"})
    where = {one.name: Path(one.uri.removeprefix("file://")) for one in report.artifacts}
    content = json.loads(where["thresholds.json"].read_text())
    assert content["f1_macro"] == pytest.approx(report.metrics["f1_macro"])
    assert content["f1_macro_tuned"] == report.metrics["f1_macro_tuned"]
    assert sum(content["thresholds"]) == pytest.approx(1)
    assert min(content["thresholds"]) > 0


def test_numbers_have_no_thresholds(attempt: Attempt) -> None:
    data = {"uri": "generated:diabetes", "format": "Bundled", "task": "Regression", "validation": "0.2"}
    with pytest.raises(AssignmentError, match=r"recipe.thresholds: 'f1_macro' needs classes"):
        attempt({"model.family": "mlp", "recipe.thresholds": "f1_macro", "recipe.lr": "0.01"}, data=data)
