"""The machine's pace: how long a fixed piece of work takes on it just now.

Who runs on the other half of a core, or lowers its clock, makes this work slower as it does the artifact, by
up to twice, and no counter that a container can read shows it. So calls count that were made while the pace
was about the fastest that has been seen: nobody was in their way.
"""

import statistics
import threading
import time
from typing import Self

_TURNS = 1000
"""Of the loop: about 50 microseconds."""
_EACH = 3
_INTERVAL = 1.0


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


class Fastest:
    """The fastest pace that has been seen; within `with`, it is looked for once a second.

    A neighbour may stay for longer than a measurement takes, not so easily for longer than a trial.
    """

    def __init__(self) -> None:
        self.seconds = pace()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pace", daemon=True)

    def saw(self, seconds: float) -> None:
        """Somebody has measured this."""
        self.seconds = min(self.seconds, seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self.saw(pace())
