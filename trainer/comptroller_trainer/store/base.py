"""What the trainer asks of object storage."""

from abc import ABC, abstractmethod
from pathlib import Path


class Store(ABC):
    """Objects by key below one prefix.

    Every method raises `errors.MissingError` where there is no such object, and `errors.StoreError` where the
    store refuses or does not answer within bounded time.
    """

    uri: str
    """The prefix, without a slash at its end."""

    def uri_of(self, key: str) -> str:
        """The full address of `key`."""
        return f"{self.uri}/{key}"

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The whole object."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write the object, over another if there is one; readers see the old or the new one whole."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Write the object if there is none; whether the object there is now `data`.

        True too where an earlier try of ours had been written and only its answer was lost.
        """

    @abstractmethod
    def upload(self, key: str, path: Path) -> None:
        """`put` from a file, without holding it in memory."""

    @abstractmethod
    def list(self, prefix: str) -> list[str]:
        """The keys that start with `prefix`, sorted."""

    @abstractmethod
    def is_object(self) -> bool:
        """Return whether there is an object at `uri` itself; false too where that cannot be known."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object; fine if there is none."""

    @abstractmethod
    def fetch(self, key: str, cache: Path) -> Path:
        """A local file with the object's content, kept in `cache` where it has to be copied."""
