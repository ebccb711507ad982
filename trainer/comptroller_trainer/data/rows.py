"""Readers of formats with columns, on Hugging Face `datasets`: no hub, no pickles, no test split (P8)."""

import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from comptroller_trainer.data.source import DataError, Files
from comptroller_trainer.errors import ObjectStoreError

if TYPE_CHECKING:
    from datasets import Dataset as Rows

_NOT_TRAINING = frozenset({"test", "tests", "testing", "t10k", "validation", "valid", "val", "dev", "eval"})
_SUFFIX = re.compile(r"(set|split|data)?\d*$")
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
_END_OF_TAR = bytes(1024)
_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def library() -> Any:
    """Return `datasets`, which takes seconds to import, without its hub and its progress bars."""
    os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    import datasets  # noqa: PLC0415 - seconds, and reads the variables set above

    datasets.disable_progress_bars()
    return datasets


@contextmanager
def damaged(name: str) -> Iterator[None]:
    """Turn a parser's error on a broken file into a `DataError` that names the file."""
    import pyarrow as pa  # noqa: PLC0415 - only files with columns need it

    parser = library().exceptions.DatasetGenerationError
    try:
        yield
    except (parser, pa.ArrowException, OSError, ValueError, KeyError, TypeError, EOFError,
            SyntaxError, tarfile.TarError) as error:  # fmt: skip
        reason = error.__cause__ if isinstance(error, parser) and error.__cause__ else error
        if isinstance(reason, OSError) and reason.errno:  # the machine's, not the file's
            raise ObjectStoreError(f"{name}: {reason}") from error
        text = " ".join(str(reason).split()) or type(reason).__name__
        raise DataError(f"{name}: cannot be read: {text[:300]}") from error


def read_parquet(files: Files, cache: Path) -> "Rows":
    """Read every .parquet file of the training split."""
    library()
    keys = training([key for key in files.keys() if key.endswith(".parquet")])  # noqa: SIM118 - no mapping
    root = files.tree(keys)
    return together([_parquet(root / key, key, cache) for key in keys], keys)


def read_image_folder(files: Files, cache: Path, *, by_directory: bool) -> "Rows":
    """Read images; their directories as `label` if `by_directory`, and the columns of metadata.csv."""
    found = [k for k in files.keys() if k.lower().endswith((*_IMAGES, *_METADATA))]  # noqa: SIM118 - no mapping
    keys = training(found, whole_path=False)
    root = files.tree(keys)
    with damaged(files.uri):
        rows: Rows = library().load_dataset(
            "imagefolder", data_files={"train": [str(root / key) for key in keys]}, split="train",
            cache_dir=str(cache / "rows"), drop_labels=not by_directory,
        )  # fmt: skip
    return rows


def read_webdataset(files: Files, cache: Path) -> "Rows":
    """Read every .tar shard of the training split: a column an extension, `json` members taken apart."""
    keys = training([key for key in files.keys() if key.endswith(".tar")])  # noqa: SIM118 - no mapping
    root = files.tree(keys)
    shards = [_shard(root / key, key, cache) for key in keys]
    return _flat(together(shards, keys)).remove_columns(["__key__", "__url__"])


def read_saved(files: Files) -> "Rows":
    """Read a directory that `datasets` saved: one split, or the `train` split of several."""
    keys = files.keys()
    prefix = "train/" if "dataset_dict.json" in keys else ""
    keys = [key for key in keys if key.startswith(prefix)]
    if f"{prefix}state.json" not in keys:
        raise DataError(f"{files.uri}: no {prefix}state.json, so not a directory that `datasets` saved")
    root = files.tree(keys)
    with damaged(f"{prefix}state.json"):
        state = json.loads((root / f"{prefix}state.json").read_text(encoding="utf-8"))
        named = [f"{prefix}{entry['filename']}" for entry in state["_data_files"]]
    for name in named:
        if name not in keys:
            raise DataError(f"{prefix}state.json: names {name}, which is not there")
    with damaged(root.name + "/" + prefix):
        rows: Rows = library().load_from_disk(str(root / prefix))
    for name, batch in ((n, b) for n in named for b in _batches(root / n, n)):
        with damaged(name):
            batch.validate(full=True)  # else a flipped byte may end the process
    return rows


def training(keys: Sequence[str], *, whole_path: bool = True) -> list[str]:
    """Return the `keys` that no name puts in a test or validation split; only those of `train`, if any are.

    `test_set` and `val2017` are such names. Without `whole_path` only directories count: what all keys have
    in common and the first below it, since others may name classes.
    """
    shared = len(PurePath(os.path.commonpath([PurePath(key).parent for key in keys])).parts) if keys else 0

    def words(key: str) -> set[str]:
        parts = key.split("/")
        named = parts if whole_path else parts[:-1][: shared + 1]
        return {_SUFFIX.sub("", word) or word for word in re.split(r"[^a-z0-9]+", "/".join(named).lower())}

    left = [key for key in keys if not words(key) & _NOT_TRAINING]
    return [key for key in left if words(key) & {"train", "training"}] or left


def _parquet(path: Path, key: str, cache: Path) -> "Rows":
    import pyarrow.parquet as pq  # noqa: PLC0415 - only files with columns need it

    with damaged(key):
        if pq.read_metadata(path).num_rows == 0:
            raise DataError(f"{key}: no samples")
        rows: Rows = library().Dataset.from_parquet(str(path), cache_dir=str(cache / "rows"))
    return rows


def _shard(path: Path, key: str, cache: Path) -> "Rows":
    with damaged(key):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - len(_END_OF_TAR)))
            if file.read() != _END_OF_TAR:  # a shard cut between two members reads as a smaller one
                raise DataError(f"{key}: cannot be read: not a whole tar file")
        rows: Rows = library().load_dataset(
            "webdataset", data_files={"train": [str(path)]}, split="train", cache_dir=str(cache / "rows")
        )
    return rows


def together(parts: "list[Rows]", names: Sequence[str]) -> "Rows":
    """Return `parts`, known by `names`, one after another; their columns must be the same."""
    for part, name in zip(parts, names, strict=True):
        if part.features.keys() != parts[0].features.keys():
            odd = sorted(part.features.keys() ^ parts[0].features.keys())
            raise DataError(f"{name}: its columns are not those of {names[0]}: {', '.join(odd)}")
    with damaged(names[0]):
        rows: Rows = library().concatenate_datasets(parts)
    return rows


def _flat(rows: "Rows") -> "Rows":
    """Split each column of records into a column for each field, named `<column>.<field>`."""
    for column, feature in list(rows.features.items()):
        if isinstance(feature, dict):
            records = rows.data.column(column).combine_chunks()
            for name in feature:
                rows = rows.add_column(f"{column}.{name}", records.field(name))
            rows = rows.remove_columns(column)
    return rows


def _batches(path: Path, name: str) -> Iterator[Any]:
    import pyarrow as pa  # noqa: PLC0415 - only files with columns need it

    with damaged(name), pa.memory_map(str(path)) as file:
        yield from pa.ipc.open_stream(file)
