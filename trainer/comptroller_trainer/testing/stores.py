"""Conformance tests of object stores."""
# ruff: noqa: S101 - pytest's way to say what must hold

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import ClassVar

from comptroller_trainer.errors import MissingError
from comptroller_trainer.store import ObjectStore, open_store

_KEY = "rungs/0/model.onnx"
_OLD, _NEW = b"old" * 100_000, b"new!" * 100_000
"""Contents that no store writes in one step by chance."""
_WRITERS, _TIMES = 8, 40


class ObjectStoreConformance:
    """Tests of one kind of store. A subclass has a fixture `store`, which opens an empty one."""

    concurrent: ClassVar[bool] = True
    """False if what stands in for the real service in these tests does not bear several writers at once."""

    def opened(self, uri: str) -> ObjectStore:
        """Return a store of this kind at `uri`."""
        return open_store(uri)

    def test_what_was_put_is_got_by_all(self, store: ObjectStore) -> None:
        for content in (b"1", b"", bytes(range(256)) * 5000, b"22"):
            store.put(_KEY, content)
            assert store.get(_KEY) == content
            assert self.opened(store.uri).get(_KEY) == content

    def test_its_uri_is_that_of_a_prefix(self, store: ObjectStore) -> None:
        assert not store.uri.endswith("/")
        assert store.uri_of(_KEY) == f"{store.uri}/{_KEY}"
        assert self.opened(f"{store.uri}/").uri == store.uri
        store.put(_KEY, b"1")
        assert self.opened(f"{store.uri}/rungs").get(_KEY.removeprefix("rungs/")) == b"1"

    def test_a_file_is_uploaded_and_fetched(self, store: ObjectStore, tmp_path: Path) -> None:
        for content in (b"333" * 1000, b"4"):
            file = tmp_path / "upload"
            file.write_bytes(content)
            store.upload(_KEY, file)
            file.unlink()
            assert store.get(_KEY) == content
            assert store.fetch(_KEY, tmp_path / "cache").read_bytes() == content

    def test_a_changed_object_is_not_read_from_the_cache(self, store: ObjectStore, tmp_path: Path) -> None:
        for content in (b"old", b"old", b"new"):
            store.put(_KEY, content)
            store.put("other/model.onnx", b"other")
            assert store.fetch(_KEY, tmp_path / "cache").read_bytes() == content
            assert store.fetch("other/model.onnx", tmp_path / "cache").read_bytes() == b"other"

    def test_creation_happens_once(self, store: ObjectStore) -> None:
        assert store.create(_KEY, b"first")
        assert not store.create(_KEY, b"second")
        assert store.get(_KEY) == b"first"
        store.put("put", b"first")
        assert not store.create("put", b"second")
        assert store.get("put") == b"first"

    def test_creation_again_of_the_same_is_success(self, store: ObjectStore) -> None:
        assert store.create(_KEY, b"first")
        assert store.create(_KEY, b"first")  # a reply that was lost
        assert store.get(_KEY) == b"first"

    def test_one_of_several_creators_wins(self, store: ObjectStore) -> None:
        if not self.concurrent:
            return
        contents = [bytes([number]) * 100_000 for number in range(_WRITERS)]
        begin = Barrier(_WRITERS)

        def create(key: str, content: bytes) -> bool:
            begin.wait()
            return store.create(key, content)

        with ThreadPoolExecutor(_WRITERS) as pool:
            for turn in range(_TIMES):
                key = f"reports/{turn}"
                created = list(pool.map(partial(create, key), contents))
                assert created.count(True) == 1
                assert store.get(key) == contents[created.index(True)]

    def test_a_reader_sees_the_old_or_the_new_object_whole(self, store: ObjectStore, tmp_path: Path) -> None:
        if not self.concurrent:
            return
        (file := tmp_path / "new").write_bytes(_NEW)
        store.put(_KEY, _OLD)

        def write() -> None:
            for _ in range(_TIMES):
                store.upload(_KEY, file)
                store.put(_KEY, _OLD)

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(write)
            while not writing.done():
                assert store.get(_KEY) in {_OLD, _NEW}
                assert store.list("") == [_KEY]
            writing.result()

    def test_keys_are_listed_in_order_by_their_first_characters(self, store: ObjectStore) -> None:
        assert store.list("") == []
        for key in ("b/2", "a/1", "b/10", "ab/c/d", "b-"):
            store.put(key, b"")
        assert store.list("") == ["a/1", "ab/c/d", "b-", "b/10", "b/2"]
        assert store.list("a") == ["a/1", "ab/c/d"]
        assert store.list("b/") == ["b/10", "b/2"]
        assert store.list("b/1") == ["b/10"]
        assert store.list("c/") == []

    def test_only_keys_below_its_own_prefix_are_listed(self, store: ObjectStore) -> None:
        self.opened(f"{store.uri}-2").put("theirs", b"")
        store.put("ours", b"")
        assert store.list("") == ["ours"]

    def test_a_key_may_have_any_letters(self, store: ObjectStore, tmp_path: Path) -> None:
        for key in ("with space/ä+%20.json", "#1?x=y&z/weights..bin"):
            store.put(key, key.encode())
            assert store.get(key) == key.encode()
            assert store.fetch(key, tmp_path / "cache").read_bytes() == key.encode()
            assert store.list("") == [key]
            store.delete(key)

    def test_an_object_is_distinguished_from_a_prefix(self, store: ObjectStore) -> None:
        store.put("k", b"1")
        assert not store.is_object()
        assert self.opened(store.uri_of("k")).is_object()
        assert not self.opened(store.uri_of("none")).is_object()

    def test_deletion_is_idempotent_and_of_one_object(self, store: ObjectStore) -> None:
        for key in ("k", "k2", "d/e"):
            store.put(key, b"1")
        for key in ("k", "k", "d", "never/was", "k2/x"):
            store.delete(key)
        assert store.list("") == ["d/e", "k2"]

    def test_absence_is_distinguished_from_failure(self, store: ObjectStore, tmp_path: Path) -> None:
        store.put("a/object", b"1")
        for key in ("nothing", "no/such", "a", "a/obj", "a/object/x"):
            assert _is_missing(partial(store.get, key)), f"get of {key}"
            assert _is_missing(partial(store.fetch, key, tmp_path / "cache")), f"fetch of {key}"


def _is_missing(read: Callable[[], object]) -> bool:
    try:
        read()
    except MissingError:
        return True
    return False
