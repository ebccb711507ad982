"""A store in a directory, for runs on one machine."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from comptroller.ledger.store import MAX_OBJECT, Ambiguous, Exists, Store, TooLarge, Unavailable, checked

_PARTIAL = ".partial-"
"""The prefix of the name of a file that is still being written."""


class DirectoryStore(Store):
    """A store with one file for each object.

    `link` is the conditional write: it fails where the name is taken, and a name never shows half a file.
    File and directories are synced before `create` returns. The file system must have hard links.
    """

    def __init__(self, root: Path) -> None:
        """A store below `root`, which is made at the first write."""
        self._root = root

    def create(self, key: str, data: bytes) -> None:
        path = self._path(key)
        try:
            _make_directories(path.parent)
            handle, temporary = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
        except OSError as error:
            raise Unavailable(f"{key}: {error}") from error
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            _discard(temporary)
            raise Unavailable(f"{key}: {error}") from error
        try:
            os.link(temporary, path)
            _sync(path.parent)
        except FileExistsError as error:
            raise Exists(key) from error
        except OSError as error:
            raise Ambiguous(f"{key}: {error}") from error
        finally:
            _discard(temporary)

    def get(self, key: str, limit: int = MAX_OBJECT) -> bytes | None:
        path = self._path(key)
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unavailable(f"{key}: {error}") from error
        if len(data) > limit:
            raise TooLarge(f"{key}: more than {limit} bytes")
        return data

    def keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        # Only the directory that `prefix` names is walked.
        top = self._root / prefix.rpartition("/")[0]
        found = []
        for directory, _, names in os.walk(top, onerror=_unreadable):
            relative = Path(directory).relative_to(self._root).as_posix()
            base = "" if relative == "." else f"{relative}/"
            found += [f"{base}{name}" for name in names if not name.startswith(_PARTIAL)]
        yield from sorted(key for key in found if key.startswith(prefix) and key > after)

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise Unavailable(f"{key}: {error}") from error

    def _path(self, key: str) -> Path:
        return self._root / checked(key)


def _make_directories(path: Path) -> None:
    """Make `path` and sync each new name into its parent, or a crash could take a synced file with it."""
    if path.is_dir():
        return
    _make_directories(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir()
    _sync(path.parent)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _discard(temporary: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(temporary)  # noqa: PTH108 - mkstemp gives a string


def _unreadable(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise Unavailable(str(error)) from error
