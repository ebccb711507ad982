"""Learning rates are shares of their peak, and come to an end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller_trainer.learning.schedule import rate


@given(
    st.sampled_from(["one_cycle", "cosine", "linear", "constant", "plateau"]),
    st.floats(0, 1), st.none() | st.floats(0, 0.9),
)  # fmt: skip
def test_a_rate_is_a_share_of_its_peak(schedule: str, progress: float, warmup: float | None) -> None:
    assert 0 < rate(schedule, progress, warmup) <= 1


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "linear", "constant"])
def test_a_warmup_rises_to_the_peak(schedule: str) -> None:
    rates = [rate(schedule, step / 100, 0.1) for step in range(11)]
    assert rates == sorted(rates)
    assert rates[0] < 0.01
    assert rates[10] == pytest.approx(1)


def test_one_cycle_rises_falls_and_ends_small() -> None:
    rates = [rate("one_cycle", step / 100) for step in range(101)]
    peak = rates.index(max(rates))
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[peak] == pytest.approx(1.0)
    assert rates[-1] < 0.01
