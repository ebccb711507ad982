"""Settings for every level of tests: hypothesis' profile, the order of tests, and which of them run alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from support.turns import Turns

# Machines are shared and noisy, so the duration of an example proves nothing about the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

_TURNS = pytest.StashKey[Turns]()


def pytest_configure(config: pytest.Config) -> None:
    """Register `alone`; a worker takes turns with the others of its run, which share a directory."""
    config.addinivalue_line("markers", "alone: no other test of its level runs at the same time")
    if hasattr(config, "workerinput"):
        config.stash[_TURNS] = Turns(Path(config.option.basetemp).parent)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave the queue."""
    if turns := config.stash.get(_TURNS, None):
        turns.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests with a long time limit first, so that no worker begins one last, and `alone` ones last."""
    items.sort(key=lambda item: (_alone(item), -_limit(item)))


# Around pytest-timeout's timer, because waiting for a turn is not the test's time.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[Any]:
    """Run the test in its turn."""
    turns = item.config.stash.get(_TURNS, None)
    if turns is None:
        return (yield)
    turns.take(alone=_alone(item))
    try:
        return (yield)
    finally:
        turns.give(alone_next=nextitem is not None and _alone(nextitem))


def _alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


def _limit(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker else 0.0
