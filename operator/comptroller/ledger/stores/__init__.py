"""The stores that can hold a ledger: an S3 bucket, a directory, memory."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from comptroller.ledger.store import MAX_OBJECT, Store, Unavailable
from comptroller.ledger.stores.directory import DirectoryStore
from comptroller.ledger.stores.memory import MemoryStore
from comptroller.ledger.stores.s3 import ObjectLock, S3Clients, S3Store

__all__ = ["DirectoryStore", "MemoryStore", "ObjectLock", "Objects", "S3Store", "open_store"]

_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]*:")


def open_store(uri: str, lock: ObjectLock | None = None) -> Store:
    """Return the store at `uri`: `s3://bucket/prefix`, `file:///directory`, a directory's path, or `memory:`.

    Nothing is requested from the store yet; `Store.probe` does that.

    Args:
        uri: of the store.
        lock: keeps the batches of journals from deletion; only S3 can.

    Raises:
        ValueError: `uri` is not one of these, or there is a lock and it is not S3.
    """
    parts = urlsplit(uri)
    if uri.startswith("s3://") and parts.netloc and not parts.query:
        return S3Store(parts.netloc, parts.path.strip("/"), lock=lock)
    if lock is not None:
        raise ValueError(f"ledger.objectLock.mode is {lock.mode}, and {uri!r} is not s3://bucket/prefix")
    if uri.startswith("file:///"):
        return DirectoryStore(Path(unquote(parts.path)))
    if uri == "memory:":
        return MemoryStore()
    if uri and not _SCHEME.match(uri):
        return DirectoryStore(Path(uri))
    raise ValueError(f"{uri!r} is not a store: s3://bucket/prefix, file:///directory, a path, or memory:")


class Objects:
    """Read access by URI, to whatever trainers left in whichever bucket."""

    def __init__(self) -> None:
        """Start with no store open."""
        self._clients: S3Clients | None = None

    def get(self, uri: str, limit: int = MAX_OBJECT) -> bytes | None:
        """Return the object at `uri`, or `None` if it does not exist.

        Raises:
            TooLarge: it has more than `limit` bytes.
            Unavailable: not known.
        """
        parts = urlsplit(uri)
        try:
            return self._store(parts.scheme, parts.netloc).get(unquote(parts.path).strip("/"), limit)
        except ValueError as error:
            raise Unavailable(str(error)) from error

    def first(self, uri: str) -> str | None:
        """Return the URI of one object below the prefix `uri`, or `None` if there are no objects.

        An object whose name ends with a slash is a folder of a console's, and counts as nothing.

        Raises:
            Unavailable: not known.
        """
        parts = urlsplit(uri)
        prefix = f"{unquote(parts.path).strip('/')}/".lstrip("/")
        for key in self._store(parts.scheme, parts.netloc).keys(prefix):
            if not key.endswith("/"):
                return f"{parts.scheme}://{parts.netloc}/{key}"
        return None

    def _store(self, scheme: str, bucket: str) -> Store:
        """The store of a bucket: no more than its name and the clients that all buckets share."""
        if scheme != "s3":
            return DirectoryStore(Path("/"))
        if self._clients is None:
            self._clients = S3Clients()
        return S3Store(bucket, clients=self._clients)
