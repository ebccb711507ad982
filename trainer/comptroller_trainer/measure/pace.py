"""The machine's pace: the time that a fixed piece of work takes now.

A neighbour on the other half of a core, or one that lowers the clock, slows this work as it slows the
artifact, by up to twice, and no counter that a container can read shows the neighbour. So only calls count
that were made while the pace was about the fastest that has been seen.
"""

import math
import statistics
import threading
import time
from collections.abc import Iterable
from typing import Self

_TURNS = 1000
"""Turns of the loop: about 50 microseconds."""
_EACH = 3
_INTERVAL = 1.0
_APART = 50


def pace() -> float:
    """Return the seconds that the work takes now.

    The work is an interpreter's loop, which feels a neighbour more than a checksum, a hash or a product of
    matrices does. The result is the median of three: the first warms the caches.
    """
    times = []
    for _ in range(_EACH):
        before = time.perf_counter()
        total = 0
        for turn in range(_TURNS):
            total += turn * turn
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def fastest(paces: Iterable[float]) -> float:
    """Return the fastest pace without the fastest fiftieth, since clocks are boosted for moments.

    Args:
        paces: at least one, seconds.
    """
    ordered = sorted(paces)
    return ordered[len(ordered) // _APART]


class Fastest:
    """The machine's fastest pace so far; within `with`, the pace is measured once a second.

    A neighbour may stay for longer than a measurement takes, not so easily for longer than a trial.
    """

    def __init__(self) -> None:
        self._looks = [pace()]
        self._reported = math.inf
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pace", daemon=True)

    @property
    def seconds(self) -> float:
        """Seconds of the work at the fastest pace."""
        return min(fastest(self._looks), self._reported)

    def saw(self, seconds: float) -> None:
        """Take in the fastest pace that another process has measured."""
        self._reported = min(self._reported, seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._looks.append(pace())
