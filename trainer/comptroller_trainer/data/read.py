"""Read `data` before the split: one source, or the sources of a mixture one after another."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from comptroller_api.data import Data
from comptroller_trainer.data import formats
from comptroller_trainer.data.manifest import PreprocessingStep, SourceRecord, array_file
from comptroller_trainer.data.source import ArrayInputs, DataError, Files, Numbers, RawData
from comptroller_trainer.errors import MissingError
from comptroller_trainer.store import open_store

if TYPE_CHECKING:
    from datasets import Dataset as Rows

_GENERATED = "generated:"


def read(data: Data, cache: Path) -> tuple[RawData, list[SourceRecord]]:
    """Return the samples, and a record of each source.

    Raises:
        DataError, MissingError: the data cannot be used.
        ObjectStoreError: the store does not answer.
    """
    if (data.uri is None) == (data.sources is None):
        raise DataError("either uri or sources are needed")
    if data.format in {"MNIST1D", "Bundled"}:
        return _generated(data)
    places = {s.name: s.uri for s in data.sources} if data.sources else {"": data.uri or ""}
    for uri in places.values():
        if uri.startswith(_GENERATED):
            raise DataError(f"needs files, and data.uri is {uri}", "format", data.format)
    sources = {name: Files(open_store(uri), cache) for name, uri in places.items()}
    raw, counts = (_arrays if data.format in {"IDX", "NPZ"} else _columns)(data, sources, cache)
    if data.sources:
        raw = replace(raw, source=np.repeat(np.arange(len(counts)), counts))
    records = [
        SourceRecord(name=name, uri=places[name], samples=count, training=0, files=files.hashed())
        for (name, files), count in zip(sources.items(), counts, strict=True)
    ]
    return raw, records


def read_inputs(
    data: Data, steps: Sequence[PreprocessingStep], cache: Path
) -> tuple[Numbers, dict[str, float]]:
    """Return all inputs, (n, *shape), and the share without a value, by column.

    Args:
        data: where there are columns, none of them need be the label.
        steps: what was done to the training data; nothing is learned from these.
        cache: where to write what has to be copied or decoded.

    Raises:
        DataError, MissingError: the data cannot be used.
        ObjectStoreError: the store does not answer.
    """
    from comptroller_trainer.data.check import finite  # noqa: PLC0415 - only new data need it
    from comptroller_trainer.data.tables import Table  # noqa: PLC0415 - only new data need it

    if data.format in {"IDX", "NPZ", "MNIST1D", "Bundled"}:
        inputs = read(data, cache)[0].inputs
    else:
        from comptroller_trainer.data import columns  # noqa: PLC0415 - `datasets` takes seconds

        if steps:
            data = data.model_copy(update={"features": [step.column for step in steps]})
        files = Files(open_store(data.uri or ""), cache)
        rows, _, key = _rows(data, {"": files}, cache)
        inputs = columns.inputs(rows, data, key)
    if isinstance(inputs, Table):
        return inputs.encoded(steps), inputs.lacking()
    if isinstance(inputs, ArrayInputs):
        finite(inputs, data.uri or "")
    everything = np.arange(len(inputs))
    return inputs.arrange(everything, everything[:0], cache)[0], {}


def _generated(data: Data) -> tuple[RawData, list[SourceRecord]]:
    uri = data.uri or ""
    if data.format == "MNIST1D":
        raw = formats.read_mnist1d()
    else:
        raw = formats.read_bundled(uri.removeprefix(_GENERATED))
    if (raw.labels.dtype == np.float32) != (data.task == "Regression"):
        raise DataError(f"is not what the labels of {raw.name} are for", "task", data.task)
    made = raw.inputs.array if isinstance(raw.inputs, ArrayInputs) else raw.labels
    record = SourceRecord(
        name="", uri=uri, samples=len(raw.labels), training=0, files=[array_file(raw.name, made, raw.labels)]
    )
    return raw, [record]


def _arrays(data: Data, sources: Mapping[str, Files], cache: Path) -> tuple[RawData, list[int]]:
    del cache
    parts: list[RawData] = []
    arrays: list[Numbers] = []
    for name, files in sources.items():
        with _blamed(name):
            if data.format == "IDX":
                part = formats.read_idx(files)
            else:
                part = formats.read_npz(files, regression=data.task == "Regression")
            array = part.inputs.array if isinstance(part.inputs, ArrayInputs) else None
            if array is None or len(array) != len(part.labels):
                raise DataError(f"{part.name}: {len(part.inputs)} samples and {len(part.labels)} labels")
            if arrays and (array.shape[1:], array.dtype) != (arrays[0].shape[1:], arrays[0].dtype):
                raise DataError(
                    f"{part.name}: samples of {array.dtype} {array.shape[1:]}, and those of the first source"
                    f" are {arrays[0].dtype} {arrays[0].shape[1:]}"
                )
            parts.append(part)
            arrays.append(array)
    labels = np.concatenate([part.labels for part in parts])
    whole = arrays[0] if len(arrays) == 1 else cast("Numbers", np.concatenate(arrays))
    return RawData(parts[0].name, ArrayInputs(whole), labels), [len(part.labels) for part in parts]


def _columns(data: Data, sources: Mapping[str, Files], cache: Path) -> tuple[RawData, list[int]]:
    from comptroller_trainer.data import columns  # noqa: PLC0415 - `datasets` takes seconds

    whole, counts, key = _rows(data, sources, cache)
    return columns.interpret(whole, data, next(iter(sources.values())).uri, key), counts


def _rows(data: Data, sources: Mapping[str, Files], cache: Path) -> tuple["Rows", list[int], str]:
    """Return all rows, the number from each source, and the hash of their content."""
    from comptroller_trainer.data import rows  # noqa: PLC0415 - `datasets` takes seconds

    parts: list[Rows] = []
    for name, files in sources.items():
        with _blamed(name):
            match data.format:
                case "Parquet":
                    part = rows.read_parquet(files, cache)
                case "ImageFolder":
                    part = rows.read_image_folder(files, cache, by_directory=data.label is None)
                case "WebDataset":
                    part = rows.read_webdataset(files, cache)
                case _:
                    part = rows.read_saved(files)
            if len(part) == 0:
                raise DataError(f"{files.uri}: no samples")
            parts.append(part)
    whole = rows.together(parts, [files.uri for files in sources.values()])
    content = "".join(file.sha256 for files in sources.values() for file in files.hashed())
    return whole, [len(part) for part in parts], hashlib.sha256(content.encode()).hexdigest()


@contextmanager
def _blamed(source: str) -> Iterator[None]:
    """Name the source of a mixture in errors from within."""
    try:
        yield
    except (DataError, MissingError) as error:
        if not source or (isinstance(error, DataError) and error.field != "uri"):
            raise
        raise DataError(f"cannot be used: {error}", "sources", source) from error
