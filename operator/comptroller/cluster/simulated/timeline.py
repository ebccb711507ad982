"""Virtual time: a queue of what happens when. Nothing here reads a clock."""

import heapq
import itertools
from collections.abc import Callable


class Timeline:
    """Calls in the order of their times; those of one moment in the order of their requests."""

    def __init__(self, now: int) -> None:
        """Begin at `now`, in unix seconds."""
        self.now = now
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: int, call: Callable[[], None]) -> None:
        """Make `call` at `when`; at once, where that is past."""
        heapq.heappush(self._queue, (when, next(self._order), call))

    def after(self, seconds: int, call: Callable[[], None]) -> None:
        """Make `call` in `seconds`."""
        self.at(self.now + seconds, call)

    @property
    def next(self) -> int | None:
        """Return when the next call is due; `None` if no call is."""
        return self._queue[0][0] if self._queue else None

    @property
    def due(self) -> list[int]:
        """The times of all calls to come, in order."""
        return sorted(when for when, _, _ in self._queue)

    def run(self, until: int) -> None:
        """Let time pass up to and with `until`.

        A call may do so too: time then passes for the caller that waits in it, and for all others.
        """
        while self._queue and self._queue[0][0] <= until:
            when, _, call = heapq.heappop(self._queue)
            self.now = max(self.now, when)
            call()
        self.now = max(self.now, until)
