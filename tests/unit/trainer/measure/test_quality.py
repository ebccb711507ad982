"""Quality is what scikit-learn computes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller_trainer.measure.quality import quality


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(20, 200))
@settings(max_examples=30, deadline=None)
def test_quality_is_scikit_learns(seed: int, classes: int, count: int) -> None:
    from sklearn import metrics  # noqa: PLC0415 - seconds that other tests do not need

    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, classes)).astype(np.float32) * 3
    labels = rng.integers(0, classes, count)
    labels[:classes] = np.arange(classes)
    found = quality(logits, labels)
    predicted = logits.argmax(1)
    probability = np.exp(logits - logits.max(1, keepdims=True)).astype(np.float64)
    probability /= probability.sum(1, keepdims=True)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found["f1_macro"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert found["loss"] == pytest.approx(
        metrics.log_loss(labels, probability, labels=range(classes)), rel=1e-5
    )
    score = probability if classes > 2 else probability[:, 1]
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels, score, multi_class="ovr"), abs=1e-6)
    truth = np.eye(classes)[labels]
    assert found["brier"] == pytest.approx(np.square(probability - truth).sum(1).mean(), rel=1e-5)


def test_ties_in_the_auc_count_half() -> None:
    assert quality(np.zeros((10, 2), np.float32), np.arange(10) % 2)["auc"] == 0.5


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_quality_of_a_regression_is_scikit_learns(seed: int) -> None:
    from sklearn import metrics  # noqa: PLC0415 - seconds that other tests do not need

    rng = np.random.default_rng(seed)
    truth = rng.normal(5, 3, 50).astype(np.float32)
    predicted = (truth + rng.normal(0, 1, 50)).astype(np.float32)[:, None]
    found = quality(predicted, truth)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, predicted), rel=1e-5)
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, predicted), rel=1e-5)
    assert found["r2"] == pytest.approx(metrics.r2_score(truth, predicted), rel=1e-4)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    sure = np.array([[10.0, 0.0]] * 100, np.float32)
    half_right = np.array([0, 1] * 50)
    assert quality(sure, half_right)["ece"] == pytest.approx(0.5, abs=1e-3)
    assert quality(sure, np.zeros(100, np.int64))["ece"] == pytest.approx(0.0, abs=1e-3)
