"""Every format is read as what it is, and a damaged file is named."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from comptroller_api.data import Data
from comptroller_trainer.data import rows
from comptroller_trainer.data.load import load
from comptroller_trainer.data.rows import library
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.errors import AssignmentError

SIDE, ROWS = 6, 24
Make = Callable[[Path], dict[str, Any]]


def encoded_image(row: int, mode: str = "RGB", side: int = SIDE) -> bytes:
    """An image whose first pixel is its row."""
    rng = np.random.default_rng(row)
    pixels = rng.integers(0, 255, (side, side, 3) if mode == "RGB" else (side, side)).astype(np.uint8)
    pixels[0, 0] = row
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def folder(root: Path) -> dict[str, Any]:
    for row in range(ROWS):
        path = root / "train" / ("cat", "dog")[row % 2] / f"{row:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded_image(row))
    for name in ("test", "val"):
        (root / name / "cat").mkdir(parents=True)
        (root / name / "cat" / "x.png").write_bytes(b"not to be read")
    return {"format": "ImageFolder"}


def shards(root: Path, rows: int = ROWS) -> dict[str, Any]:
    root.mkdir(exist_ok=True)
    for shard in range(2):
        with tarfile.open(root / f"data-{shard}.tar", "w") as out:
            for row in range(shard, rows, 2):
                record = json.dumps({"person": row // 4, "age": row}).encode()
                for member, content in (
                    (f"{row:03d}.png", encoded_image(row)),
                    (f"{row:03d}.cls", str(row % 3).encode()),
                    (f"{row:03d}.json", record),
                ):
                    header = tarfile.TarInfo(member)
                    header.size = len(content)
                    out.addfile(header, io.BytesIO(content))
    (root / "test-0.tar").write_bytes(b"not to be read")
    return {"format": "WebDataset"}


def saved(root: Path) -> dict[str, Any]:
    datasets = library()
    columns = {
        "image": [{"bytes": encoded_image(r, "L")} for r in range(ROWS)],
        "label": [r % 2 for r in range(ROWS)],
    }
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=["cat", "dog"]))
    split = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict(train=split).save_to_disk(str(root))
    (root / "test").mkdir()
    (root / "test" / "state.json").write_text("not to be read")
    return {"format": "HuggingFace"}


def table(root: Path, **columns: Any) -> dict[str, Any]:
    root.mkdir(exist_ok=True)
    given = {"x": np.arange(ROWS, dtype=float), "label": np.arange(ROWS) % 2} | columns
    given = {name: values for name, values in given.items() if values is not None}
    pq.write_table(pa.table(given), root / "part.parquet")
    (root / "test.parquet").write_bytes(b"not to be read")
    return {"format": "Parquet"}


def loaded(tmp_path: Path, make: Make | dict[str, Any], **changes: Any) -> Dataset:
    root = tmp_path / "source"
    made = make(root) if callable(make) else make
    cache = tmp_path / "cache"
    return load(Data(**({"uri": f"file://{root}", "validation": "0.25"} | made | changes)), cache)


def refused(tmp_path: Path, make: Make | dict[str, Any], **changes: Any) -> str:
    with pytest.raises(AssignmentError) as caught:
        loaded(tmp_path, make, **changes)
    return str(caught.value)


@pytest.mark.parametrize(
    ("make", "shape", "classes", "names"),
    [
        (folder, (3, SIDE, SIDE), 2, ["cat", "dog"]),
        (shards, (3, SIDE, SIDE), 3, []),
        (saved, (1, SIDE, SIDE), 2, ["cat", "dog"]),
    ],
)
def test_images_are_bytes_with_their_labels(
    tmp_path: Path, make: Make, shape: tuple[int, ...], classes: int, names: list[str]
) -> None:
    features = {"features": ["png"]} if make is shards else {}
    found = loaded(tmp_path, make, **features)
    assert (found.shape, found.classes) == (shape, classes)
    assert (len(found.train), len(found.validation)) == (18, 6)
    assert found.manifest is not None
    assert found.manifest.class_names == names
    for side in (found.train, found.validation):
        rows = side.inputs[:, 0, 0, 0].tolist()
        assert side.labels.tolist() == [row % classes for row in rows]
    together = [*found.train.inputs[:, 0, 0, 0].tolist(), *found.validation.inputs[:, 0, 0, 0].tolist()]
    assert sorted(together) == list(range(ROWS))


def test_images_are_decoded_once_and_then_mapped(tmp_path: Path) -> None:
    first = loaded(tmp_path, folder).train.inputs.clone()
    (decoded,) = (tmp_path / "cache" / "decoded").iterdir()
    stamp = decoded.stat().st_mtime_ns
    again = loaded(tmp_path, {"format": "ImageFolder"})
    assert decoded.stat().st_mtime_ns == stamp
    assert first.equal(again.train.inputs)
    again.train.inputs[0] = 0  # what a stage does to a sample stays in memory
    assert loaded(tmp_path, {"format": "ImageFolder"}).train.inputs.equal(first)


def test_other_images_are_not_taken_from_the_cache(tmp_path: Path) -> None:
    first = loaded(tmp_path, folder)
    path = tmp_path / "source" / "train" / "cat" / "000.png"
    path.write_bytes(encoded_image(99))
    again = loaded(tmp_path, {"format": "ImageFolder"})
    assert not first.train.inputs.equal(again.train.inputs) or not (
        first.validation.inputs.equal(again.validation.inputs)
    )


def test_a_shards_records_are_columns(tmp_path: Path) -> None:
    found = loaded(
        tmp_path,
        shards,
        label="json.age",
        task="Regression",
        features=["png"],
        group="json.person",
        split="Group",
    )
    assert found.classes == 0
    assert found.outputs == 1
    assert found.train.labels.dtype.is_floating_point
    assert found.group is not None
    assert len(found.group) == len(found.train)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="datasets")
    yield client
    server.stop()


def test_a_bucket_is_read_as_a_directory_is(tmp_path: Path, bucket: Any) -> None:
    for make in (folder, saved):
        root = tmp_path / make.__name__
        settings = {"validation": "0.25"} | make(root)
        for path in root.rglob("*"):
            if path.is_file():
                key = f"{make.__name__}/{path.relative_to(root)}"
                bucket.upload_file(str(path), "datasets", key)
        here = load(Data(uri=f"file://{root}", **settings), tmp_path / "one")
        there = load(Data(uri=f"s3://datasets/{make.__name__}", **settings), tmp_path / "two")
        assert here.train.inputs.equal(there.train.inputs)
        assert here.train.labels.equal(there.train.labels)
        assert here.manifest is not None
        assert there.manifest is not None
        assert here.manifest.sha256 == there.manifest.sha256


def test_a_key_that_leads_out_of_the_source_is_refused(tmp_path: Path, bucket: Any) -> None:
    bucket.put_object(Bucket="datasets", Key="x/../../cat/1.png", Body=encoded_image(1))
    with pytest.raises(AssignmentError, match="leads out of the source"):
        load(Data(uri="s3://datasets/x", format="ImageFolder"), tmp_path)


def test_sequences_are_channels(tmp_path: Path) -> None:
    left = np.arange(ROWS * 5, dtype=np.float64).reshape(ROWS, 5)
    found = loaded(tmp_path, lambda root: table(root, x=list(left), y=list(-left)))
    assert found.shape == (2, 5)
    row = int(found.train_index[3])
    assert found.train.inputs[3].tolist() == [left[row].tolist(), (-left[row]).tolist()]


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "diabetes"])
def test_what_scikit_learn_brings(tmp_path: Path, name: str) -> None:
    task = "Regression" if name == "diabetes" else "Classification"
    found = load(Data(uri=f"generated:{name}", format="Bundled", task=task), tmp_path)
    shape = {"digits": (1, 8, 8), "breast_cancer": (30,), "wine": (13,), "diabetes": (10,)}[name]
    assert found.shape == shape
    assert found.classes == {"digits": 10, "breast_cancer": 2, "wine": 3, "diabetes": 0}[name]


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def scramble(path: Path) -> None:
    path.write_bytes(bytes(byte ^ 0x5A for byte in path.read_bytes()))


@pytest.mark.parametrize("damage", [truncate, scramble], ids=["truncated", "corrupt"])
@pytest.mark.parametrize(
    ("make", "file", "expected"),
    [
        (folder, "train/dog/003.png", "003.png"),
        (shards, "data-1.tar", "data-1.tar: cannot be read"),
        (saved, "train/data-00000-of-00001.arrow", "cannot be read"),
        (saved, "train/state.json", "state.json: cannot be read"),
        (table, "part.parquet", "part.parquet: cannot be read"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, make: Make, file: str, expected: str, damage: Callable[[Path], None]
) -> None:
    made = make(tmp_path / "source")
    damage(tmp_path / "source" / file)
    message = refused(tmp_path, made)
    assert message.startswith("data.uri: ")
    assert expected in message


@pytest.mark.parametrize("make", [folder, shards, saved, table])
def test_a_flipped_byte_is_harmless_or_refused(tmp_path: Path, make: Make) -> None:
    made = make(tmp_path / "source") | ({"features": ["png"]} if make is shards else {})
    files = sorted(path for path in (tmp_path / "source").rglob("*") if path.is_file())
    path = max((path for path in files if "test" not in path.name), key=lambda path: path.stat().st_size)
    good = path.read_bytes()
    for place in np.linspace(0, len(good) - 1, 8, dtype=int):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        with suppress(AssignmentError):
            loaded(tmp_path, made)


def test_a_shard_that_ends_between_two_members_is_named(tmp_path: Path) -> None:
    made = shards(tmp_path / "source")
    path = tmp_path / "source" / "data-1.tar"
    path.write_bytes(path.read_bytes()[: 512 * 12])
    assert "data-1.tar: cannot be read: not a whole tar file" in refused(tmp_path, made, features=["png"])


def test_images_of_two_sizes_are_named(tmp_path: Path) -> None:
    made = folder(tmp_path / "source")
    (tmp_path / "source" / "train" / "dog" / "005.png").write_bytes(encoded_image(5, side=9))
    message = refused(tmp_path, made)
    assert "005.png" in message
    assert "9 x 9 in colour where the first is 6 x 6 in colour; all need one size" in message


def test_colour_among_grey_is_named(tmp_path: Path) -> None:
    made = folder(tmp_path / "source")
    (tmp_path / "source" / "train" / "dog" / "005.png").write_bytes(encoded_image(5, mode="L"))
    assert "6 x 6 in grey where the first is 6 x 6 in colour" in refused(tmp_path, made)


def test_pixels_that_are_not_bytes_are_refused(tmp_path: Path) -> None:
    made = folder(tmp_path / "source")
    out = io.BytesIO()
    Image.fromarray(np.full((SIDE, SIDE), 70_000, np.int32)).save(out, "TIFF")
    (tmp_path / "source" / "train" / "dog" / "005.png").write_bytes(out.getvalue())
    assert "its pixels are I, not bytes" in refused(tmp_path, made)


@pytest.mark.parametrize("format_", ["Parquet", "ImageFolder", "WebDataset", "HuggingFace"])
def test_an_empty_source_is_named(tmp_path: Path, format_: str) -> None:
    (tmp_path / "source").mkdir()
    message = refused(tmp_path, {"format": format_})
    assert "no files to train on" in message or "no state.json" in message


@pytest.mark.parametrize("format_", ["Parquet", "ImageFolder", "WebDataset", "HuggingFace", "IDX", "NPZ"])
def test_a_file_where_a_prefix_is_wanted_is_named(tmp_path: Path, format_: str) -> None:
    (tmp_path / "source").write_bytes(b"PAR1")
    message = refused(tmp_path, {"format": format_})
    assert f"source: is a file; a source is a prefix, such as file://{tmp_path}" in message


def test_a_table_without_rows_is_named(tmp_path: Path) -> None:
    assert "no samples" in refused(tmp_path, lambda root: table(root, x=[], label=[]))


def test_a_missing_shard_of_a_saved_data_set_is_named(tmp_path: Path) -> None:
    made = saved(tmp_path / "source")
    (tmp_path / "source" / "train" / "data-00000-of-00001.arrow").unlink()
    assert "names train/data-00000-of-00001.arrow, which is not there" in refused(tmp_path, made)


def test_files_with_other_columns_are_named(tmp_path: Path) -> None:
    made = table(tmp_path / "source")
    pq.write_table(pa.table({"y": [1.0], "label": [0]}), tmp_path / "source" / "second.parquet")
    assert "second.parquet: its columns are not those of part.parquet: x, y" in refused(tmp_path, made)


def test_only_the_training_split_is_opened(tmp_path: Path) -> None:
    made = table(tmp_path / "source")
    shutil.move(tmp_path / "source" / "part.parquet", tmp_path / "source" / "train-0.parquet")
    (tmp_path / "source" / "extra.parquet").write_bytes(b"not to be read")
    found = loaded(tmp_path, made)
    assert found.manifest is not None
    assert [file.name for file in found.manifest.sources[0].files] == ["train-0.parquet"]


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        (["train1.parquet", "test1.parquet", "val2017.parquet"], ["train1.parquet"]),
        (["a.parquet", "test_set.parquet", "testset/b.parquet", "validset2.parquet"], ["a.parquet"]),
        (["contest.parquet", "latest2.parquet"], ["contest.parquet", "latest2.parquet"]),
    ],
)
def test_what_is_named_for_a_test_is_not_trained_on(keys: list[str], kept: list[str]) -> None:
    assert rows.training(keys) == kept


@pytest.mark.parametrize(
    ("keys", "kept"),
    [
        (["cifar/train/cat/1.png", "cifar/test/cat/1.png"], ["cifar/train/cat/1.png"]),
        (["train/test/1.png", "train/cat/test.png"], ["train/cat/test.png"]),
        (["cat/test/1.png", "dog/val/1.png"], ["cat/test/1.png", "dog/val/1.png"]),
        (["metadata.csv", "train/cat/1.png", "test/cat/1.png"], ["train/cat/1.png"]),
    ],
)
def test_directories_of_images_name_splits_above_classes(keys: list[str], kept: list[str]) -> None:
    assert rows.training(keys, whole_path=False) == kept
