"""Bad input is refused with exit 64 and a sentence that names it."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comptroller_api.data import Data
from comptroller_trainer import worker
from comptroller_trainer.data.load import load
from comptroller_trainer.errors import (
    AssignmentError,
    DivergedError,
    MissingError,
    NoGainError,
    UnavailableError,
)
from comptroller_trainer.learning.training import Training
from comptroller_trainer.recipe import reference
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.runtime import assignment, protocol
from comptroller_trainer.runtime.stop import Stop

Described = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": -1}, "seed: -1"),
        ({"seed": "x"}, "seed: 'x'"),
        ({"epochs": 3}, "epochs: 3 must not be more than totalEpochs"),
        ({"leaseSeconds": 0}, "leaseSeconds: 0"),
        ({"data": {"uri": "ftp://x", "format": "IDX"}}, "data.uri: 'ftp://x'"),
        ({"data": {"uri": "file:///x", "format": "CSV"}}, "data.format: 'CSV'"),
        ({"artifacts": "gs://x"}, "artifacts: 'gs://x' must start with s3:// or file:///"),
        ({"colour": "red"}, "colour: 'red'"),
        ({"parameters": {"lr": "1"}}, "lr"),
        ({"latency": {"limit": "1h", "batch": 0}}, "latency.batch: 0"),
    ],
)
def test_a_wrong_field_is_named(described: Described, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AssignmentError) as caught:
        assignment.read({"COMPTROLLER_ASSIGNMENT": json.dumps(described(**changes))})
    assert said in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"study": "s"}'])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(AssignmentError):
        assignment.read({"COMPTROLLER_ASSIGNMENT": text})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("model.family", "perceiver", "known: "),
        ("data.selector", "best", "known: "),
        ("augment.policy", "blur_all", "known: "),
        ("compress.method", "zip", "known: "),
        ("model.colour", "red", "is not a parameter with model.family 'cnn'; known: model.depth"),
        ("augment.padding", "2", "is not a parameter with augment.policy 'none'; known: none"),
        ("recipe.colour", "red", "is not a parameter; known: recipe."),
        ("recipe.lr", "0", "greater than 0"),
        ("recipe.lr", "nan", "finite"),
        ("recipe.lr", "fast", "valid number"),
        ("recipe.batch_size", "1", "greater than or equal to 2"),
        ("recipe.batch_size", "32.5", "valid integer"),
        ("recipe.optimizer", "lion", "input should be 'sgd'"),
        ("data.keep", "0.5", "contradicts data.selector all"),
        ("model.dropout", "1", "less than 1"),
    ],
)
def test_a_wrong_parameter_is_named(name: str, value: str, said: str) -> None:
    with pytest.raises(AssignmentError) as caught:
        parse({name: value})
    assert str(caught.value).startswith(f"{name}: {value!r}")
    assert said in str(caught.value)


def test_a_fraction_out_of_range_is_named() -> None:
    for value in ("0", "1.5", "-1"):
        with pytest.raises(AssignmentError, match=r"data\.keep"):
            parse({"data.selector": "random", "data.keep": value})


def test_every_parameter_is_in_the_table() -> None:
    found = {row.name for row in reference.rows()}
    for name in Training.model_fields:
        assert f"recipe.{name}" in found
    assert {
        "model.family",
        "model.width",
        "data.selector",
        "data.keep",
        "augment.policy",
        "compress.method",
    } <= found
    assert all(row.meaning and row.values for row in reference.rows())
    assert "| `recipe.lr` |" in reference.page()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def corrupt(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


IMAGES, LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "damage", "said"),
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
    idx_directory: Path, tmp_path: Path, name: str, damage: Callable[[Path], object], said: str
) -> None:
    damage(idx_directory / name)
    with pytest.raises(AssignmentError) as caught:
        load(Data(uri=f"file://{idx_directory}", format="IDX"), tmp_path)
    assert str(caught.value).startswith("data.uri: ")
    assert said in str(caught.value)


def npz(directory: Path, **arrays: Any) -> Data:
    directory.mkdir()
    good = {"x_train": np.random.default_rng(0).random((40, 5)), "y_train": np.arange(40) % 2}
    np.savez(directory / "data.npz", **(good | arrays))
    return Data(uri=f"file://{directory}", format="NPZ", validation="0.25")


def with_nan() -> np.ndarray:
    x = np.zeros((40, 5))
    x[7, 3] = np.nan
    return x


@pytest.mark.parametrize(
    ("arrays", "said"),
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
def test_unusable_arrays_are_named(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    with pytest.raises(AssignmentError) as caught:
        load(npz(tmp_path / "npz", **arrays), tmp_path)
    assert said in str(caught.value)


def test_a_class_that_cannot_be_split_is_named(tmp_path: Path) -> None:
    labels = np.array([0] * 39 + [1])
    with pytest.raises(AssignmentError, match="class 1 has a single sample"):
        load(npz(tmp_path / "npz", y_train=labels), tmp_path)


def test_training_that_diverges_says_so(attempt: Callable[..., object]) -> None:
    explosive = {"recipe.lr": "100", "recipe.weight_decay": "1", "recipe.schedule": "constant"}
    with pytest.raises(AssignmentError, match=r"recipe\.lr: '100' made training diverge"):
        attempt(explosive)


def test_stages_that_need_pictures_refuse_tables(tmp_path: Path, attempt: Callable[..., object]) -> None:
    data = npz(tmp_path / "npz").to_json()
    with pytest.raises(AssignmentError, match=r"model\.family: 'cnn' needs images"):
        attempt(data=data)
    with pytest.raises(AssignmentError, match=r"augment\.policy: 'flip' needs images"):
        attempt({"model.family": "mlp", "augment.policy": "flip"}, data=data)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AssignmentError("a", 1, "is wrong"), 64),
        (DivergedError("recipe.lr", "100", "made training diverge"), 65),
        (NoGainError("compress.method", "int8_static", "made it slower"), 66),
        (UnavailableError("s3://bucket/x: could not connect"), 69),
        (MissingError("s3://bucket/x: no such bucket"), 69),
        (torch.OutOfMemoryError("CUDA out of memory"), 71),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
            71,
        ),
        (MemoryError(), 71),
        (RuntimeError("something else"), 1),
    ],
)
def test_an_error_gives_its_exit_code_and_its_reason(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, described: Described, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(worker, "_attempt", fail)
    monkeypatch.setattr(Stop, "listen", lambda _: None)
    monkeypatch.setenv("COMPTROLLER_ASSIGNMENT", json.dumps(described()))
    monkeypatch.setenv(protocol.TERMINATION_LOG_ENV, str(tmp_path / "why"))
    assert worker.main([]) == code
    assert str(error) in (tmp_path / "why").read_text()
