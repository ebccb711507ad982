"""A store that fails as real ones do, on demand; for tests and for simulation."""

import contextlib
from collections.abc import Callable, Iterator
from enum import Enum, auto

from comptroller.ledger.store import MAX_OBJECT, Ambiguous, Conflict, Exists, Store, Unavailable


class Fault(Enum):
    """The fate of one call."""

    NONE = auto()
    REFUSED = auto()
    """The call has no effect, and the caller knows."""
    CONFLICT = auto()
    """409: no effect, to be tried again. For a read the same as `REFUSED`."""
    LOST_REQUEST = auto()
    """No effect, and the caller does not know."""
    LOST_REPLY = auto()
    """The call takes effect, and the caller does not know."""
    LATE = auto()
    """The caller does not know, and it takes effect at the next `arrive`."""


class FaultyStore(Store):
    """Another store behind an unreliable network."""

    def __init__(self, store: Store, fate: Callable[[str, str], Fault]) -> None:
        """A store in front of `store`.

        Args:
            store: what is behind the network.
            fate: decides on each call, given `create`, `get`, `keys` or `delete`, and the key.
        """
        self._store = store
        self._fate = fate
        self._late: list[tuple[str, bytes]] = []

    def arrive(self) -> None:
        """Let every write that is still under way take effect, where it can."""
        late, self._late = self._late, []
        for key, data in late:
            with contextlib.suppress(Exists):
                self._store.create(key, data)

    def create(self, key: str, data: bytes) -> None:
        match self._fate("create", key):
            case Fault.NONE:
                self._store.create(key, data)
            case Fault.REFUSED:
                raise Unavailable(f"{key}: refused")
            case Fault.CONFLICT:
                raise Conflict(f"{key}: conflict")
            case Fault.LOST_REQUEST:
                raise Ambiguous(f"{key}: no reply")
            case Fault.LOST_REPLY:
                with contextlib.suppress(Exists):  # the reply that says so is lost too
                    self._store.create(key, data)
                raise Ambiguous(f"{key}: no reply")
            case Fault.LATE:
                self._late.append((key, data))
                raise Ambiguous(f"{key}: no reply")

    def get(self, key: str, limit: int = MAX_OBJECT) -> bytes | None:
        self._read("get", key)
        return self._store.get(key, limit)

    def keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        self._read("keys", prefix)
        return self._store.keys(prefix, after)

    def delete(self, key: str) -> None:
        self._read("delete", key)
        self._store.delete(key)

    def _read(self, operation: str, key: str) -> None:
        if self._fate(operation, key) is not Fault.NONE:
            raise Unavailable(f"{operation} {key}: no answer")
