"""A directory as a store, for local runs and tests."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from comptroller_trainer.errors import MissingError, ObjectStoreError
from comptroller_trainer.store.base import ObjectStore


@contextmanager
def _as_store_errors(name: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise MissingError(f"{name}: no such object") from error
    except OSError as error:
        raise ObjectStoreError(f"{name}: {error.strerror or error}") from error


class DirectoryObjectStore(ObjectStore):
    """Keys are paths below `root`; an object appears whole or not at all."""

    def __init__(self, root: str) -> None:
        self._root = Path(root)
        self.uri = f"file://{str(self._root).rstrip('/')}"

    def get(self, key: str) -> bytes:
        with _as_store_errors(self.uri_of(key)):
            return self._file(key).read_bytes()

    def put(self, key: str, data: bytes) -> None:
        with self._temporary(key) as (file, temporary, path):
            file.write(data)
            _settle(file)
            temporary.replace(path)

    def create(self, key: str, data: bytes) -> bool:
        with self._temporary(key) as (file, temporary, path):
            file.write(data)
            _settle(file)
            try:
                path.hardlink_to(temporary)  # unlike a rename, fails if the name is taken
            except FileExistsError:
                return path.read_bytes() == data
        return True

    def upload(self, key: str, path: Path) -> None:
        with self._temporary(key) as (file, temporary, target), path.open("rb") as source:
            shutil.copyfileobj(source, file)
            _settle(file)
            temporary.replace(target)

    def list(self, prefix: str) -> list[str]:
        with _as_store_errors(self.uri_of(prefix)):
            return sorted(
                key
                for path in self._root.rglob("*")
                if path.is_file()
                and not path.name.startswith(".")
                and (key := path.relative_to(self._root).as_posix()).startswith(prefix)
            )

    def is_object(self) -> bool:
        return self._root.is_file()

    def delete(self, key: str) -> None:
        with _as_store_errors(self.uri_of(key)), suppress(FileNotFoundError):
            self._file(key).unlink()

    def fetch(self, key: str, cache: Path) -> Path:
        del cache  # it is local already
        with _as_store_errors(self.uri_of(key)):
            return self._file(key)

    def _file(self, key: str) -> Path:
        """Return the object's path.

        Raises:
            FileNotFoundError: the object does not exist; a directory is no object.
        """
        path = self._root / key
        if not path.is_file():
            raise FileNotFoundError(path)
        return path

    @contextmanager
    def _temporary(self, key: str) -> Iterator[tuple[BinaryIO, Path, Path]]:
        """Yield an open temporary file, its path, and the object's path in the same directory."""
        path = self._root / key
        with _as_store_errors(self.uri_of(key)):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".", dir=path.parent)
            try:
                os.fchmod(handle, 0o644)  # mkstemp's files are its owner's alone
                with os.fdopen(handle, "wb") as file:
                    yield file, Path(name), path
            finally:
                Path(name).unlink(missing_ok=True)


def _settle(file: BinaryIO) -> None:
    """Write the file to the disk, not only to a buffer, before the object gets its name."""
    file.flush()
    os.fsync(file.fileno())
