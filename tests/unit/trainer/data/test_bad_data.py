"""Data that cannot be used end a real trainer with 64, and its last words say what is wrong."""

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comptroller_trainer.runtime import protocol

Environment = Callable[..., dict[str, str]]
TRAINER = [sys.executable, "-m", "comptroller_trainer"]


def truncated(place: Path) -> dict[str, Any]:
    path = place / "idx" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    return {}


def corrupt(place: Path) -> dict[str, Any]:
    path = place / "idx" / "train-images-idx3-ubyte.gz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(bytes(data))
    return {}


def fewer_labels(place: Path) -> dict[str, Any]:
    path = place / "idx" / "train-labels-idx1-ubyte"
    data = path.read_bytes()
    path.write_bytes(data[:4] + (100).to_bytes(4, "big") + data[8:108])
    return {}


def missing(place: Path) -> dict[str, Any]:
    return {"uri": f"file://{place}/nowhere"}


def another_manifest(place: Path) -> dict[str, Any]:
    del place
    return {"manifest": "0" * 64}


def arrays(place: Path, inputs: Any, labels: Any) -> dict[str, Any]:
    np.savez(place / "data.npz", x_train=inputs, y_train=labels)
    return {"uri": f"file://{place}", "format": "NPZ"}


def labels_out_of_range(place: Path) -> dict[str, Any]:
    return arrays(place, np.zeros((40, 6), np.float32), np.arange(40) - 1)


def lonely_class(place: Path) -> dict[str, Any]:
    return arrays(place, np.zeros((41, 6), np.float32), np.array([0, 1] * 20 + [2]))


def nan_features(place: Path) -> dict[str, Any]:
    inputs = np.zeros((40, 6), np.float32)
    inputs[7, 3] = np.nan
    return arrays(place, inputs, np.arange(40) % 2)


def parquet(place: Path, table: pa.Table) -> dict[str, Any]:
    (place / "rows").mkdir()
    pq.write_table(table, place / "rows" / "train.parquet")
    return {"uri": f"file://{place}/rows", "format": "Parquet"}


def no_rows(place: Path) -> dict[str, Any]:
    empty = pa.table({"x": pa.array([], pa.float32()), "label": pa.array([], pa.int64())})
    return parquet(place, empty)


def bomb(place: Path) -> dict[str, Any]:
    """An image of a few bytes that says that it has 400 million pixels."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    (place / "images").mkdir()
    for number in range(4):
        content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk
        content += struct.pack(">I", zlib.crc32(chunk)) + bytes(4) + b"IDAT"
        path = place / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    return {"uri": f"file://{place}/images", "format": "ImageFolder"}


def no_image(place: Path) -> dict[str, Any]:
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    nothing = pa.array([{"bytes": None, "path": None}] * 8, kind)
    table = pa.table({"image": nothing, "label": pa.array([0, 1] * 4)})
    features = datasets.Features(image=datasets.Image(), label=datasets.Value("int64"))
    return parquet(place, table.cast(features.arrow_schema))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (truncated, "train-images-idx3-ubyte.gz"),
        (corrupt, "train-images-idx3-ubyte.gz"),
        (fewer_labels, "100 labels"),
        (missing, "nowhere"),
        (another_manifest, "data.manifest: '000"),
        (labels_out_of_range, "-1"),
        (lonely_class, "class 2"),
        (nan_features, "not finite"),
        (no_rows, "train.parquet: no samples"),
        (bomb, "400000000 pixels"),
        (no_image, "neither bytes nor a path"),
    ],
)
def test_unusable_data_give_64_and_say_why(
    as_env: Environment, described: Callable[..., dict[str, Any]], tmp_path: Path, spoil: Any, expected: str
) -> None:
    changed = spoil(tmp_path)
    environment = as_env(data=described()["data"] | changed)
    done = subprocess.run(TRAINER, env=environment, check=False, capture_output=True)
    words = (tmp_path / "termination-log").read_text()
    assert done.returncode == protocol.EXIT_BAD_ASSIGNMENT, words
    assert words.startswith("data.")
    assert expected in words


def test_an_empty_selection_gives_64_and_says_why(as_env: Environment, tmp_path: Path) -> None:
    done = subprocess.run(TRAINER, env=as_env({"data.keep": "0"}), check=False, capture_output=True)
    assert done.returncode == protocol.EXIT_BAD_ASSIGNMENT
    assert "data.keep: '0'" in (tmp_path / "termination-log").read_text()
