"""Turns between the workers of one level: a test that is marked `alone` keeps every other test out."""

import fcntl
from pathlib import Path


class Turns:
    """One worker's place among the workers that share a directory.

    A worker that waits to be alone holds the gate, so that no other test begins before its own. If its next
    test runs alone too, it keeps its turn. The kernel ends the turn of a worker that dies.
    """

    def __init__(self, directory: Path) -> None:
        self._gate = (directory / "gate.lock").open("w")
        self._room = (directory / "room.lock").open("w")
        self._alone = False

    def take(self, *, alone: bool) -> None:
        """Wait until the test may begin."""
        if alone and self._alone:
            return
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        self._alone = alone
        if not alone:
            fcntl.flock(self._gate, fcntl.LOCK_UN)

    def give(self, *, alone_next: bool = False) -> None:
        """End the turn, unless it is alone and the next test has to be alone too."""
        if self._alone and alone_next:
            return
        self._alone = False
        fcntl.flock(self._room, fcntl.LOCK_UN)
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leave, and end the turn."""
        self._gate.close()
        self._room.close()
