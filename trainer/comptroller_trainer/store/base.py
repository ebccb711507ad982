"""The interface of object storage."""

from abc import ABC, abstractmethod
from pathlib import Path


class ObjectStore(ABC):
    """Objects by key below one prefix.

    Every method raises `errors.MissingError` if the object does not exist, and `errors.ObjectStoreError` if
    the store refuses or does not answer within bounded time.
    """

    uri: str
    """The prefix, without a slash at its end."""

    def uri_of(self, key: str) -> str:
        """Return the full URI of `key`."""
        return f"{self.uri}/{key}"

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Return the whole object."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Write or replace the object; readers see the old or the new one whole."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Write the object unless it exists; return true if the object is now `data`.

        The result is also true if an earlier try was written and only its answer was lost.
        """

    @abstractmethod
    def upload(self, key: str, path: Path) -> None:
        """Write the object from a file, without holding it in memory."""

    @abstractmethod
    def list(self, prefix: str) -> list[str]:
        """Return the keys that start with `prefix`, sorted."""

    @abstractmethod
    def is_object(self) -> bool:
        """Return true if there is an object at `uri` itself; false also if that is unknown."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove the object if it exists."""

    @abstractmethod
    def fetch(self, key: str, cache: Path) -> Path:
        """Return a local file with the object's content; copies are kept in `cache`."""
