"""Latency: rounds that a neighbour disturbed do not count, and where too few agree it is said."""

import numpy as np
import pytest
from numpy.typing import NDArray

from comptroller_trainer.measure.latency import quiet, told


def calls(seed: int, slower: float = 1.0) -> NDArray[np.float64]:
    """200 calls of about a millisecond."""
    rng = np.random.default_rng(seed)
    return (1e-3 + rng.gamma(2.0, 2e-5, 200)) * slower


def test_disturbed_rounds_change_nothing() -> None:
    still = [calls(seed) for seed in range(4)]
    disturbed = [*still, calls(9, 1.5), calls(10, 3.0)]
    assert told(disturbed) == told(still)
    assert told(still)["latency_trusted"] == 1


def test_rounds_that_do_not_agree_are_not_trusted() -> None:
    unsteady = [calls(seed, 1 + 0.3 * seed) for seed in range(6)]
    assert len(quiet(unsteady)) < 3
    assert told(unsteady)["latency_trusted"] == 0


def test_the_interval_holds_the_true_quantile_as_often_as_it_says() -> None:
    truth = (1e-3 + np.quantile(np.random.default_rng(0).gamma(2.0, 2e-5, 2_000_000), 0.95)) * 1000
    held = 0
    for trial in range(300):
        found = told([calls(1000 + 4 * trial + part) for part in range(4)])
        assert found["latency_p95_low_ms"] <= found["latency_p95_ms"] <= found["latency_p95_high_ms"]
        held += found["latency_p95_low_ms"] <= truth <= found["latency_p95_high_ms"]
    assert held / 300 == pytest.approx(0.95, abs=0.05)
