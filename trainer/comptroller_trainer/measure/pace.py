"""The machine's pace: how long a fixed piece of work takes on it just now.

Who runs on the other half of a core, or lowers its clock, makes this work slower as it does the artifact, by
up to twice, and no counter that a container can read shows it. So calls count that were made while the pace
was about the fastest that has been seen: nobody was in their way.
"""

import math
import statistics
import threading
import time
from collections.abc import Iterable
from typing import Self

_TURNS = 1000
"""Of the loop: about 50 microseconds."""
_EACH = 3
_INTERVAL = 1.0
_APART = 50


def pace() -> float:
    """Seconds of the work, now.

    An interpreter's loop: beside a checksum, a hash and a product of matrices, it feels a neighbour most. The
    median of three: the first warms the caches.
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
    """The fastest, but for a fiftieth: a clock is boosted for moments at times.

    Args:
        paces: at least one, seconds.
    """
    ordered = sorted(paces)
    return ordered[len(ordered) // _APART]


class Fastest:
    """The machine's fastest pace so far; within `with`, it is looked at once a second.

    A neighbour may stay for longer than a measurement takes, not so easily for longer than a trial.
    """

    def __init__(self) -> None:
        self._looks = [pace()]
        self._told = math.inf
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pace", daemon=True)

    @property
    def seconds(self) -> float:
        """Of the work."""
        return min(fastest(self._looks), self._told)

    def saw(self, seconds: float) -> None:
        """Somebody else has found the fastest of many to be this."""
        self._told = min(self._told, seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._looks.append(pace())
