"""The bound that past costs give for the next one."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.plan.risk import likely

COSTS = st.lists(st.integers(0, 10**9), max_size=60)


def chance(costs, room):
    """Return a probability that the next cost is within `room`, which is not too high."""
    return sum(cost <= room for cost in costs) / (len(costs) + 1)


def test_nothing_is_known_of_the_first():
    assert chance([], 10**9) == 0
    assert likely([], 50) is None


def test_too_few_say_nothing_of_a_rare_event():
    assert likely([5] * 8, 90) is None
    assert likely([1, 2, 3, 4, 5, 6, 7, 8, 9], 90) == 9


@given(COSTS, st.integers(1, 99))
def test_the_promised_probability_is_kept(costs, percent):
    bound = likely(costs, percent)
    if bound is not None:
        assert chance(costs, bound) >= percent / 100 - 1e-12


@pytest.mark.parametrize("draw", [lambda r: r.randint(1, 100), lambda r: int(r.paretovariate(1.1) * 100)])
def test_the_bound_holds_as_often_as_it_says_whatever_the_distribution(draw):
    rng, kept = random.Random(3), 0
    for _ in range(4000):
        *past, following = [draw(rng) for _ in range(20)]
        bound = likely(past, 80)
        kept += bound is not None and following <= bound
    assert kept / 4000 >= 0.79
