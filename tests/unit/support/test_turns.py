"""Workers take turns: a test that is alone runs next to no other, and later tests do not overtake it."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.awaiting import eventually
from support.turns import Turns


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[[], Turns]]:
    workers: list[Turns] = []

    def start() -> Turns:
        workers.append(Turns(tmp_path))
        return workers[-1]

    yield start
    for one in workers:
        one.close()


def waiting(worker: Turns, *, alone: bool) -> threading.Thread:
    """Start a thread in which a worker waits for its turn."""
    thread = threading.Thread(target=worker.take, kwargs={"alone": alone})
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    return thread


def test_tests_that_share_run_side_by_side(worker: Callable[[], Turns]) -> None:
    for one in (worker(), worker()):
        one.take(alone=False)


def test_one_that_runs_alone_waits_for_the_others_and_keeps_out_the_next(worker: Callable[[], Turns]) -> None:
    first, alone, late = worker(), worker(), worker()
    first.take(alone=False)
    one = waiting(alone, alone=True)
    other = waiting(late, alone=False)
    first.give()
    one.join(60)
    assert not one.is_alive()
    assert other.is_alive()
    alone.give()
    eventually(lambda: not other.is_alive())


def test_a_turn_continues_if_the_next_test_is_alone_too(worker: Callable[[], Turns]) -> None:
    alone, late = worker(), worker()
    alone.take(alone=True)
    other = waiting(late, alone=True)
    alone.give(alone_next=True)
    alone.take(alone=True)
    assert other.is_alive()
    alone.give()
    eventually(lambda: not other.is_alive())
