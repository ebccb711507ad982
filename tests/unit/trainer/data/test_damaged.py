"""Damaged files and unusable arrays are refused with a sentence that names them."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller_api.data import Data
from comptroller_trainer.data.load import load
from comptroller_trainer.errors import (
    AssignmentError,
)
from support.trials import npz


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "damage", "expected"),
    [
        (IMAGES, truncate, f"{IMAGES}: not a whole gzip file"),
        (IMAGES, corrupt, f"{IMAGES}: not a whole gzip file"),
        (IMAGES, lambda p: p.write_bytes(gzip.compress(b"\0\0\x08\x01" + b"\0" * 8)), "not an IDX file"),
        (IMAGES, Path.unlink, f"no {IMAGES.removesuffix('.gz')}"),
        (LABELS, truncate, f"{LABELS}: 460 bytes where its header says 480"),
        (LABELS, lambda p: p.write_bytes(b""), f"{LABELS}: not an IDX file"),
        (LABELS, lambda p: p.write_bytes(p.read_bytes()[:-1] + b"\xc8"), "label 200 of sample 479"),
        (LABELS, lambda p: p.write_bytes(b"\0\0\x08\x01\0\0\0\x01\0"), "480 samples and 1 labels"),
    ],
)
def test_damaged_idx_files_are_named(
    idx_directory: Path, tmp_path: Path, name: str, damage: Callable[[Path], object], expected: str
) -> None:
    damage(idx_directory / name)
    with pytest.raises(AssignmentError) as caught:
        load(Data(uri=f"file://{idx_directory}", format="IDX"), tmp_path)
    assert str(caught.value).startswith("data.uri: ")
    assert expected in str(caught.value)


def with_nan() -> np.ndarray:
    x = np.zeros((40, 5))
    x[7, 3] = np.nan
    return x


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"x_train": with_nan()}, "sample 7 has a value that is not finite"),
        ({"y_train": np.arange(40) % 2 - 1}, "label -1 of sample 0"),
        ({"y_train": np.arange(40) % 2 * 9}, "label 9"),
        ({"y_train": np.zeros(40, int)}, "all samples have one label"),
        ({"y_train": np.zeros((40, 3))}, "not one whole number each"),
        ({"x_train": np.array([{"a": 1}] * 40)}, "without pickles"),
        ({"x_train": np.zeros(40)}, "1 dimensions"),
        ({"x_train": np.array(["a"] * 40)}, "not numbers"),
    ],
)
def test_unusable_arrays_are_named(tmp_path: Path, arrays: dict[str, Any], expected: str) -> None:
    with pytest.raises(AssignmentError) as caught:
        load(npz(tmp_path / "npz", **arrays), tmp_path)
    assert expected in str(caught.value)


def test_a_class_that_cannot_be_split_is_named(tmp_path: Path) -> None:
    labels = np.array([0] * 39 + [1])
    with pytest.raises(AssignmentError, match="class 1 has a single sample"):
        load(npz(tmp_path / "npz", y_train=labels), tmp_path)
