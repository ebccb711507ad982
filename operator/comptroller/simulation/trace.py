"""The events of a run, line by line, and a hash of them: two runs with the same hash are the same."""

import hashlib
from dataclasses import dataclass, field


@dataclass
class Trace:
    """The history of one run. Lines are kept only where somebody will read them."""

    start: int
    keep: bool = False
    lines: list[str] = field(default_factory=list)
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def say(self, now: int, who: str, what: str) -> None:
        """Add a line."""
        line = f"{now - self.start:>6} {who:<8} {what}"
        self._hash.update(line.encode())
        if self.keep:
            self.lines.append(line)

    def mark(self, data: bytes) -> None:
        """Count bytes in that nobody would read."""
        self._hash.update(data)

    @property
    def digest(self) -> str:
        """Return the hash of everything that happened so far."""
        return self._hash.hexdigest()[:16]
