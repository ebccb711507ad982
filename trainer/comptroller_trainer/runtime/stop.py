"""SIGTERM: remembered during the work that must first be saved, and obeyed at once elsewhere."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from comptroller_trainer.errors import Suspended


class StopSignal:
    """A flag for a requested stop of the attempt."""

    def __init__(self) -> None:
        self.requested = False
        self._deferred = 0

    def listen(self) -> None:
        """Take SIGTERM, and SIGINT for a person at a terminal. Only in a process's main thread."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def check(self) -> None:
        """End here if a stop was requested.

        Raises:
            Suspended: a stop was requested.
        """
        if self.requested:
            raise Suspended

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let a signal only set `requested` within a block, which decides where it can end."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        if not self._deferred:
            # Python cannot raise in a finalizer and may lose this; `check` between the stages catches that.
            raise Suspended
