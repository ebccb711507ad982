"""Interpret columns: find the label and the inputs, and the kind of each."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from comptroller_api.data import Data
from comptroller_trainer.data.images import ImageInputs
from comptroller_trainer.data.rows import damaged, library
from comptroller_trainer.data.source import ArrayInputs, Codes, DataError, Inputs, RawData
from comptroller_trainer.data.tables import Table, number_column

if TYPE_CHECKING:
    from datasets import Dataset as Rows


def interpret(rows: "Rows", data: Data, name: str, key: str) -> RawData:
    """Return `rows` as `data` says they are to be read.

    Args:
        rows: one sample each.
        data: names the columns.
        name: the source's, for messages.
        key: of the source's content, for caches.

    Raises:
        DataError: a column is missing or cannot be used, or a sample has no label.
    """
    label = _label(data)
    for field, column in (
        ("label", label),
        ("group", data.group),
        ("time", data.time),
        ("slice", data.slice),
    ):
        if column is not None and column not in rows.column_names:
            raise _no_column(rows, field, column)
    if len(rows) == 0:
        raise DataError(f"{name}: no samples")
    labels, class_names = (_numbers(rows, label), ()) if data.task == "Regression" else _classes(rows, label)
    return RawData(
        name,
        inputs(rows, data, key),
        labels,
        class_names,
        group=_codes(rows, "group", data.group),
        slice=_codes(rows, "slice", data.slice),
        time=_times(rows, data.time),
    )


def _no_column(rows: "Rows", field: str, column: str) -> DataError:
    return DataError(f"is no column; there are: {', '.join(rows.column_names)[:500]}", field, column)


def _label(data: Data) -> str:
    return data.label or ("cls" if data.format == "WebDataset" else "label")


def inputs(rows: "Rows", data: Data, key: str) -> Inputs:
    """Return the inputs; the arguments are those of `interpret`, and the label may be missing."""
    used = {_label(data), data.group, data.time, data.slice}
    names = data.features or [name for name in rows.column_names if name not in used]
    for name in names:
        if name not in rows.column_names:
            raise _no_column(rows, "features", name)
    if not names:
        raise DataError("no column is left to predict from", "features", "")
    kinds = {name: _kind(rows.features[name], name) for name in names}
    if set(kinds.values()) == {"image"} and len(names) == 1:
        return ImageInputs(rows, names[0], key)
    if set(kinds.values()) == {"sequence"}:
        return ArrayInputs(np.concatenate([_sequence(rows, name) for name in names], axis=1))
    if set(kinds.values()) <= {"number", "category"}:
        return Table(
            {name: _number(rows, name) for name in names if kinds[name] == "number"},
            {name: _category(rows, name) for name in names if kinds[name] == "category"},
        )
    odd = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
    rule = "must be one image column, or numeric and categorical columns, or sequence columns"
    raise DataError(rule, "features", odd[:300])


def _kind(feature: Any, name: str) -> str:
    datasets = library()
    if isinstance(feature, datasets.Image):
        return "image"
    if isinstance(feature, datasets.ClassLabel):
        return "category"
    if isinstance(feature, datasets.List | datasets.LargeList):
        return "sequence"
    if isinstance(feature, datasets.Value):
        dtype = feature.dtype
        if dtype in {"string", "large_string", "string_view"}:
            return "category"
        if dtype == "bool" or dtype.startswith(("int", "uint", "float", "timestamp", "date", "decimal")):
            return "number"
    raise DataError(f"is a column of {str(feature)[:100]}, which cannot be used", "features", name)


def _number(rows: "Rows", name: str) -> NDArray[np.float64]:
    import pyarrow as pa  # noqa: PLC0415 - only files with columns need it

    column = rows.data.column(name)
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.timestamp("us"), safe=False).cast(pa.int64())  # what is finer is dropped
    return number_column(name, column.cast(pa.float64(), safe=False))


def _category(rows: "Rows", name: str) -> NDArray[np.object_]:
    feature = rows.features[name]
    values = rows.data.column(name).to_pylist()
    if isinstance(feature, library().ClassLabel):
        values = [None if value is None or value < 0 else feature.int2str(value) for value in values]
    return np.array(values, dtype=object)


def _sequence(rows: "Rows", name: str) -> NDArray[np.float32]:
    """Return (n, channels, length): a column is one channel, or a list of channels."""
    import pyarrow as pa  # noqa: PLC0415 - only files with columns need it
    import pyarrow.compute as pc  # noqa: PLC0415 - only files with columns need it

    values, shape = rows.data.column(name), [len(rows)]
    while pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or (
        pa.types.is_fixed_size_list(values.type)
    ):  # fmt: skip
        if values.null_count:
            raise DataError("has a sequence that is missing", "features", name)
        lengths = pc.list_value_length(values).to_numpy()
        odd = np.flatnonzero(lengths != lengths[0])
        if len(odd):
            row = int(odd[0]) * len(rows) // len(lengths)
            raise DataError(
                f"has {lengths[odd[0]]} values in sample {row} and {lengths[0]} in the first; all need one",
                "features",
                name,
            )
        shape.append(int(lengths[0]))
        values = pc.list_flatten(values)
    if values.null_count:
        raise DataError("has a missing value within a sequence", "features", name)
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type)) or len(shape) not in {
        2,
        3,
    }:
        raise DataError(f"is a sequence of {values.type}, not of numbers or of channels", "features", name)
    array: NDArray[np.float32] = values.to_numpy().astype(np.float32).reshape(shape)
    return array if array.ndim == 3 else array[:, None]  # noqa: PLR2004 - (n, channels, steps)


def _labels(rows: "Rows", name: str) -> Any:
    column = rows.data.column(name)
    if column.null_count:
        where = int(np.argmax(column.is_null().to_numpy()))
        raise DataError(f"sample {where} has no label", "label", name)
    return column


def _classes(rows: "Rows", name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return classes and their names: integers as they are; text and booleans by their order."""
    import pyarrow as pa  # noqa: PLC0415 - only files with columns need it

    column, feature = _labels(rows, name), rows.features[name]
    if isinstance(feature, library().ClassLabel):
        return column.to_numpy().astype(np.int64), tuple(feature.names)
    if pa.types.is_integer(column.type):
        with damaged(name):
            return column.cast(pa.int64()).to_numpy(), ()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or (
        pa.types.is_boolean(column.type)
    ):  # fmt: skip
        coded = Codes.of(column.to_pylist())
        return coded.codes, coded.names
    raise DataError(
        f"is a column of {column.type}, not of classes; a Regression takes numbers", "label", name
    )


def _numbers(rows: "Rows", name: str) -> NDArray[np.float32]:
    import pyarrow as pa  # noqa: PLC0415 - only files with columns need it

    column = _labels(rows, name)
    try:
        values = column.cast(pa.float64(), safe=False).to_numpy()  # text too: a WebDataset's members
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"is a column of {column.type}, not of numbers: {error}", "label", name) from error
    return np.asarray(values, np.float32)


def _codes(rows: "Rows", field: str, name: str | None) -> Codes | None:
    if name is None:
        return None
    column = rows.data.column(name)
    if column.null_count:
        where = int(np.argmax(column.is_null().to_numpy()))
        raise DataError(f"sample {where} has none", field, name)
    feature, values = rows.features[name], column.to_pylist()
    if isinstance(feature, library().ClassLabel):
        values = [feature.int2str(value) for value in values]
    return Codes.of(values)


def _times(rows: "Rows", name: str | None) -> NDArray[np.float64] | NDArray[np.int64] | None:
    """Return numbers as they are and moments in microseconds; text is read as ISO 8601."""
    import pyarrow as pa  # noqa: PLC0415 - only files with columns need it

    if name is None:
        return None
    column = rows.data.column(name)
    try:
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            finer = pa.types.is_temporal(column.type)
            column = column.cast(pa.timestamp("us"), safe=not finer).cast(pa.int64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"cannot be read as a time: {error}", "time", name) from error
    values: NDArray[Any] = column.to_numpy()
    if column.null_count or not np.isfinite(values).all():
        raise DataError("has a sample without a time", "time", name)
    return values.astype(np.int64) if values.dtype.kind in "iu" else values.astype(np.float64)
