"""Latency: calls that somebody was in the way of do not count, and too few agreeing launches are reported."""

import numpy as np
import pytest

from comptroller_trainer.measure.latency import ServingLaunch, agreeing, quiet, summarize
from comptroller_trainer.measure.pace import Fastest, fastest, pace
from support.awaiting import eventually

FASTEST = 50e-6


def launch(seed: int, slower: float = 1.0, disturbed: float = 0.0) -> ServingLaunch:
    """40 blocks of 20 calls of about a millisecond; during the last share of blocks a neighbour is busy."""
    rng = np.random.default_rng(seed)
    blocks = np.repeat(np.arange(40), 20)
    paces = FASTEST * rng.uniform(1, 1.1, 41)
    first = round(40 * (1 - disturbed))
    calls = (1e-3 + rng.gamma(2.0, 2e-5, 800)) * slower
    if disturbed:
        paces[first:] *= 1.6
        calls[blocks >= first] *= 1.4
    return ServingLaunch(calls, blocks, paces, np.zeros(40), 0.5 + seed / 10, 1e8 + seed)


def test_calls_in_a_neighbours_way_do_not_count() -> None:
    still, disturbed = launch(0), launch(0, disturbed=0.5)
    assert len(quiet(still, FASTEST)) == 800
    # The block before the neighbour came is not sure.
    assert np.array_equal(quiet(disturbed, FASTEST), still.calls[: 19 * 20])


def test_calls_of_a_block_that_waited_for_its_core_do_not_count() -> None:
    still = launch(0)
    waiting = still._replace(waited=0.2 * (np.arange(40) == 3))
    assert np.array_equal(quiet(waiting, FASTEST), np.delete(still.calls, range(60, 80)))


def test_a_disturbed_launch_changes_nothing() -> None:
    still = [launch(seed) for seed in range(3)]
    all_of_it = launch(9, disturbed=1.0)
    found = summarize([*still, all_of_it], FASTEST)
    apart = {"cold_start_ms", "peak_memory_bytes"}
    assert {k: v for k, v in found.items() if k not in apart} == {
        k: v for k, v in summarize(still, FASTEST).items() if k not in apart
    }
    assert found["latency_trusted"] == 1
    assert found["peak_memory_bytes"] == 1e8 + 9
    assert summarize(still, FASTEST)["cold_start_ms"] == pytest.approx(600)


def test_a_neighbour_who_stays_is_distinguished_from_a_slow_model_by_an_earlier_pace() -> None:
    launches = [launch(seed, disturbed=1.0) for seed in range(8)]
    slowest = fastest(pace for one in launches for pace in one.paces)
    assert summarize(launches, slowest)["latency_trusted"] == 1
    assert summarize(launches, FASTEST)["latency_trusted"] == 0


def test_launches_that_do_not_agree_are_not_trusted() -> None:
    unsteady = [launch(seed, 1 + 0.2 * seed) for seed in range(6)]
    assert len(agreeing(unsteady, FASTEST)) < 3
    assert summarize(unsteady, FASTEST)["latency_trusted"] == 0


def test_what_is_not_trusted_is_reported_all_the_same() -> None:
    disturbed = launch(0, disturbed=1.0)
    found = summarize([disturbed] * 3, FASTEST)
    assert found["latency_p50_ms"] == pytest.approx(1000 * float(np.median(disturbed.calls)))


def test_a_launch_of_few_calls_is_none() -> None:
    few = launch(0)._replace(
        calls=np.full(19, 1.0), blocks=np.arange(19), paces=np.full(20, FASTEST), waited=np.zeros(19)
    )
    assert summarize([few] * 3, FASTEST)["latency_trusted"] == 0


def test_a_launch_that_was_mostly_disturbed_is_none() -> None:
    assert summarize([launch(seed, disturbed=0.4) for seed in range(3)], FASTEST)["latency_trusted"] == 1
    assert summarize([launch(seed, disturbed=0.6) for seed in range(3)], FASTEST)["latency_trusted"] == 0


def test_memory_that_the_kernel_does_not_tell_is_not_reported() -> None:
    assert "peak_memory_bytes" not in summarize([launch(0)._replace(peak=float("nan"))] * 3, FASTEST)


def test_the_interval_holds_the_true_quantile_as_often_as_it_says() -> None:
    truth = (1e-3 + np.quantile(np.random.default_rng(0).gamma(2.0, 2e-5, 2_000_000), 0.95)) * 1000
    held = 0
    for trial in range(300):
        found = summarize([launch(1000 + 4 * trial + part) for part in range(4)], FASTEST)
        assert found["latency_p95_low_ms"] <= found["latency_p95_ms"] <= found["latency_p95_high_ms"]
        held += bool(found["latency_p95_low_ms"] <= truth <= found["latency_p95_high_ms"])
    assert held / 300 == pytest.approx(0.95, abs=0.05)


def test_the_fastest_pace_is_looked_for_while_it_is_watched() -> None:
    with Fastest() as seen:
        assert 0 < seen.seconds < 1
        assert eventually(lambda: len(seen._looks) > 1)
        seen.saw(1e-12)
        seen.saw(1.0)
        assert seen.seconds == 1e-12


def test_a_boost_of_moments_is_not_the_fastest_pace() -> None:
    assert fastest([1.0, *[2.0] * 98, 3.0]) == 2.0
    assert fastest([2.0, 1.0]) == 1.0
    assert pace() > 0
