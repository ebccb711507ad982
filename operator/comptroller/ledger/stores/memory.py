"""A store in this process's memory, for tests and simulation."""

import threading
from collections.abc import Iterator

from comptroller.ledger.store import MAX_OBJECT, Exists, Store, TooLarge, checked


class MemoryStore(Store):
    """Keeps the contract by a lock."""

    def __init__(self) -> None:
        """An empty store."""
        self.objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def create(self, key: str, data: bytes) -> None:
        with self._lock:
            if checked(key) in self.objects:
                raise Exists(key)
            self.objects[key] = bytes(data)

    def get(self, key: str, limit: int = MAX_OBJECT) -> bytes | None:
        data = self.objects.get(checked(key))
        if data is not None and len(data) > limit:
            raise TooLarge(f"{key}: more than {limit} bytes")
        return data

    def keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        with self._lock:
            found = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        yield from found

    def delete(self, key: str) -> None:
        with self._lock:
            self.objects.pop(checked(key), None)
