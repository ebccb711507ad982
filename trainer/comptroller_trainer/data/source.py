"""The contents of a source before the split, and the files that they were read from."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from comptroller_trainer.data.manifest import File, PreprocessingStep
from comptroller_trainer.errors import MissingError
from comptroller_trainer.store import ObjectStore

Numbers = NDArray[np.uint8] | NDArray[np.float32]
_CONNECTIONS = 8


class DataError(Exception):
    """The data cannot be used.

    Args:
        rule: names the file or the sample, and what is wrong with it.
        field: the field of `data` at fault.
        value: the field's value; None: that of `data.uri`.
    """

    def __init__(self, rule: str, field: str = "uri", value: object = None) -> None:
        self.rule, self.field, self.value = rule, field, value
        super().__init__(rule)


class Files:
    """A source's files, fetched once each and remembered for the manifest."""

    def __init__(self, store: ObjectStore, cache: Path) -> None:
        self.uri = store.uri
        self._store, self._cache = store, cache
        self._fetched: dict[str, Path] = {}
        self._keys: list[str] | None = None
        self._hashed: list[File] | None = None

    def keys(self) -> list[str]:
        """Return all keys, sorted; paths below the source's prefix."""
        if self._keys is None:
            self._keys = self._store.list("")
            if not self._keys:
                self._must_be_prefix()
            for key in self._keys:
                if ".." in PurePosixPath(key).parts or key.startswith("/"):
                    raise DataError(f"{key}: leads out of the source")
        return self._keys

    def fetch(self, key: str) -> Path:
        """Return a local file with the content of `key`.

        Raises:
            MissingError: the object does not exist.
            DataError: the source is a file itself.
        """
        try:
            self._fetched[key] = path = self._store.fetch(key, self._cache)
        except MissingError:
            self._must_be_prefix()
            raise
        return path

    def _must_be_prefix(self) -> None:
        """Raise `DataError` if the source is a file, not a prefix."""
        if self._store.is_object():
            above = self.uri.rpartition("/")[0]
            raise DataError(f"{self.uri}: is a file; a source is a prefix, such as {above}")

    def tree(self, keys: Sequence[str]) -> Path:
        """Return a local directory with each of `keys` at its own path, which readers may depend on."""
        if not keys:
            raise DataError(f"{self.uri}: no files to train on")
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            paths = list(pool.map(self.fetch, keys))
        here = paths[0].as_posix().removesuffix(f"/{keys[0]}")
        if all(path.as_posix() == f"{here}/{key}" for path, key in zip(paths, keys, strict=True)):
            return Path(here)
        named = "\n".join([self.uri, *map(str, paths)])
        root = self._cache / "trees" / hashlib.sha256(named.encode()).hexdigest()[:32]
        for path, key in zip(paths, keys, strict=True):
            link = root / key
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(path.absolute())
        return root

    def hashed(self) -> list[File]:
        """Return the files that were read, by name; call this after the last read."""

        def one(key: str) -> File:
            with self._fetched[key].open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                return File(name=key, size=os.fstat(file.fileno()).st_size, sha256=digest)

        if self._hashed is None:
            with ThreadPoolExecutor(2) as pool:
                self._hashed = list(pool.map(one, sorted(self._fetched)))
        return self._hashed


class Inputs(ABC):
    """Inputs before the split.

    `arrange` may learn from the training samples, and from no others, and records its work in `steps_`.
    """

    steps_: list[PreprocessingStep]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def arrange(
        self, train: NDArray[np.int64], validation: NDArray[np.int64], cache: Path
    ) -> tuple[Numbers, Numbers]:
        """Return the inputs of both splits, (n, *shape); files are written below `cache`."""


@dataclass
class ArrayInputs(Inputs):
    """Numbers that are used as they came; the model standardises them."""

    array: Numbers
    """(n, channels, height, width), (n, channels, length) or (n, features)."""
    steps_: list[PreprocessingStep] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.array)

    def arrange(
        self, train: NDArray[np.int64], validation: NDArray[np.int64], cache: Path
    ) -> tuple[Numbers, Numbers]:
        del cache
        return self.array[train], self.array[validation]


@dataclass(frozen=True)
class Codes:
    """One of a few names for each sample."""

    codes: NDArray[np.int64]
    """(n,), from 0."""
    names: tuple[str, ...]

    @classmethod
    def of(cls, values: Sequence[object]) -> "Codes":
        """Return codes by the order of the values as text."""
        names, codes = np.unique(np.array([str(value) for value in values]), return_inverse=True)
        return cls(codes.astype(np.int64), tuple(names.tolist()))


@dataclass
class RawData:
    """The samples of all sources before the split."""

    name: str
    """The name in messages."""
    inputs: Inputs
    labels: NDArray[np.int64] | NDArray[np.float32]
    """(n,)"""
    class_names: tuple[str, ...] = ()
    """Empty: the labels are their own names."""
    group: Codes | None = None
    slice: Codes | None = None
    time: NDArray[np.float64] | NDArray[np.int64] | None = None
    """(n,), ascending with time."""
    source: NDArray[np.int64] | None = None
    """(n,) int64: of a mixture, in the order of `data.sources`."""
