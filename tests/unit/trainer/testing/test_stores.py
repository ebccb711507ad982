"""The suite of stores fails for stores that break a promise."""

from pathlib import Path
from typing import Any

import pytest

from comptroller_trainer.errors import MissingError, ObjectStoreError
from comptroller_trainer.store.base import ObjectStore
from comptroller_trainer.store.directory import DirectoryObjectStore
from comptroller_trainer.testing.stores import ObjectStoreConformance


class KeepsInMemory(DirectoryObjectStore):
    def put(self, key: str, data: bytes) -> None:
        self.__dict__.setdefault("kept", {})[key] = data

    def get(self, key: str) -> bytes:
        return self.__dict__.get("kept", {}).get(key) or super().get(key)


class EndsWithASlash(DirectoryObjectStore):
    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.uri += "/"


class LosesTheEnd(DirectoryObjectStore):
    def upload(self, key: str, path: Path) -> None:
        self.put(key, path.read_bytes()[:1024])


class CachesByKey(DirectoryObjectStore):
    def fetch(self, key: str, cache: Path) -> Path:
        path = cache / key
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(self.get(key))
        return path


class Overwrites(DirectoryObjectStore):
    def create(self, key: str, data: bytes) -> bool:
        new = key not in self.list(key)
        self.put(key, data)
        return new


class RefusesItsOwnObject(DirectoryObjectStore):
    def create(self, key: str, data: bytes) -> bool:
        return key not in self.list(key) and super().create(key, data)


class LooksBeforeItWrites(DirectoryObjectStore):
    def create(self, key: str, data: bytes) -> bool:
        if key in self.list(key):
            return self.get(key) == data
        self.put(key, data)
        return True


class WritesInPlace(DirectoryObjectStore):
    def put(self, key: str, data: bytes) -> None:
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb", buffering=0) as file:
            for start in range(0, len(data), 4096):
                file.write(data[start : start + 4096])


class ListsFolders(DirectoryObjectStore):
    def list(self, prefix: str) -> list[str]:
        return [key for key in super().list("") if key.startswith(prefix.rstrip("/") + "/") or not prefix]


class ListsNeighbours(DirectoryObjectStore):
    def list(self, prefix: str) -> list[str]:
        every = DirectoryObjectStore(str(self._root.parent)).list(self._root.name + prefix)
        return [key.partition("/")[2] for key in every]


class DecodesKeys(DirectoryObjectStore):
    def list(self, prefix: str) -> list[str]:
        return [key.replace("%20", " ") for key in super().list(prefix)]


class TakesPrefixesForObjects(DirectoryObjectStore):
    def is_object(self) -> bool:
        return self._root.exists()


class DeletesBelow(DirectoryObjectStore):
    def delete(self, key: str) -> None:
        for below in self.list(key):
            super().delete(below)


class TakesAbsenceForFailure(DirectoryObjectStore):
    def get(self, key: str) -> bytes:
        try:
            return super().get(key)
        except MissingError as error:
            raise ObjectStoreError(str(error)) from error


@pytest.mark.parametrize(
    ("kind", "test", "error"),
    [
        (KeepsInMemory, "test_what_was_put_is_got_by_all", MissingError),
        (EndsWithASlash, "test_its_uri_is_that_of_a_prefix", AssertionError),
        (LosesTheEnd, "test_a_file_is_uploaded_and_fetched", AssertionError),
        (CachesByKey, "test_a_changed_object_is_not_read_from_the_cache", AssertionError),
        (Overwrites, "test_creation_happens_once", AssertionError),
        (RefusesItsOwnObject, "test_creation_again_of_the_same_is_success", AssertionError),
        (LooksBeforeItWrites, "test_one_of_several_creators_wins", AssertionError),
        (WritesInPlace, "test_a_reader_sees_the_old_or_the_new_object_whole", AssertionError),
        (ListsFolders, "test_keys_are_listed_in_order_by_their_first_characters", AssertionError),
        (ListsNeighbours, "test_only_keys_below_its_own_prefix_are_listed", AssertionError),
        (DecodesKeys, "test_a_key_may_have_any_letters", AssertionError),
        (TakesPrefixesForObjects, "test_an_object_is_distinguished_from_a_prefix", AssertionError),
        (DeletesBelow, "test_deletion_is_idempotent_and_of_one_object", AssertionError),
        (TakesAbsenceForFailure, "test_absence_is_distinguished_from_failure", ObjectStoreError),
    ],
)
def test_a_broken_promise_fails_its_test(
    tmp_path: Path, kind: type[DirectoryObjectStore], test: str, error: type[Exception]
) -> None:
    class Suite(ObjectStoreConformance):
        def opened(self, uri: str) -> ObjectStore:
            return kind(uri.removeprefix("file://"))

    run: Any = getattr(Suite(), test)
    given = {"store": kind(str(tmp_path / "store")), "tmp_path": tmp_path}
    with pytest.raises(error):
        run(**{name: value for name, value in given.items() if name in run.__code__.co_varnames})
