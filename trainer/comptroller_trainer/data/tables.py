"""Columns of numbers and categories as features, all of it learned from the training split alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from comptroller_trainer.data.manifest import PreprocessingStep
from comptroller_trainer.data.source import DataError, Inputs, Numbers

MOST_ONE_HOT = 16
"""Categories; a column with more of them becomes one ordinal feature."""
MOST_CATEGORIES = 1000
_EXAMPLES = 3


@dataclass
class Table(Inputs):
    """A table before it is encoded.

    Numbers: a missing value is the median, and the column has mean 0 and deviation 1 (in float64, since a
    time in seconds would not survive as float32). Categories: a missing one is the most frequent; up to
    `MOST_ONE_HOT` they are one-hot, with zeros for a category that training has not seen, else ordinal and
    scaled like a number, with -1 for such a category.
    """

    numbers: dict[str, NDArray[np.float64]]
    """(n,) each; NaN: missing."""
    categories: dict[str, NDArray[np.object_]]
    """(n,) each, of text; None: missing."""
    steps_: list[PreprocessingStep] = field(default_factory=list)

    def __len__(self) -> int:
        return len(next(iter([*self.numbers.values(), *self.categories.values()])))

    def arrange(
        self, train: NDArray[np.int64], validation: NDArray[np.int64], cache: Path
    ) -> tuple[Numbers, Numbers]:
        del cache
        for name, values in {**self.numbers, **self.categories}.items():
            if all(_missing(values[train])):
                raise DataError("has no value in the training split", "features", name)
        few = {n: v for n, v in self.categories.items() if _distinct(n, v[train]) <= MOST_ONE_HOT}
        many = {n: v for n, v in self.categories.items() if n not in few}
        blocks = [
            *self._numbers(self.numbers, train),
            *self._one_hot(few, train),
            *self._ordinal(many, train),
        ]
        whole = np.concatenate(blocks, axis=1, dtype=np.float32)
        return whole[train], whole[validation]

    def encoded(self, steps: Sequence[PreprocessingStep]) -> NDArray[np.float32]:
        """Return (n, features): these samples, encoded as `arrange` encoded those of `steps`.

        Raises:
            DataError: a column is of another kind.
        """
        return np.concatenate([self._encoded(step) for step in steps], axis=1, dtype=np.float32)

    def _encoded(self, step: PreprocessingStep) -> NDArray[np.float64]:
        kind: Mapping[str, NDArray[Any]] = self.numbers if step.kind == "number" else self.categories
        if step.column not in kind:
            raise DataError(f"is not what the model was trained on: {step.kind}", "features", step.column)
        values = kind[step.column].copy()
        values[_missing(values)] = step.fill
        if step.categories is not None:
            matches = values[:, None] == np.array(step.categories, dtype=object)
            if step.kind == "one_hot":
                ones: NDArray[np.float64] = matches.astype(np.float64)
                return ones
            values = np.where(matches.any(1), matches.argmax(1), -1)
        mean, scale = step.mean or 0.0, step.scale or 1.0
        scaled: NDArray[np.float64] = (values.astype(np.float64) - mean) / scale
        return scaled[:, None]

    def lacking(self) -> dict[str, float]:
        """The share of samples without a value, by column."""
        return {name: _lacking(values) for name, values in {**self.numbers, **self.categories}.items()}

    def _numbers(self, columns: dict[str, NDArray[np.float64]], train: NDArray[np.int64]) -> list[Any]:
        from sklearn.impute import SimpleImputer  # noqa: PLC0415 - seconds
        from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - seconds

        if not columns:
            return []
        values = np.stack(list(columns.values()), axis=1)
        fill = SimpleImputer(strategy="median").fit(values[train])
        values = fill.transform(values)
        scale = StandardScaler().fit(values[train])
        for name, at, mean, by in zip(columns, fill.statistics_, scale.mean_, scale.scale_, strict=True):
            lacking = _lacking(columns[name][train])
            step = PreprocessingStep(
                column=name, kind="number", outputs=1, fill=at, mean=mean, scale=by, missing=lacking
            )
            self.steps_.append(step)
        return [scale.transform(values)]

    def _one_hot(self, columns: dict[str, NDArray[np.object_]], train: NDArray[np.int64]) -> list[Any]:
        from sklearn.preprocessing import OneHotEncoder  # noqa: PLC0415 - seconds

        if not columns:
            return []
        values, fills = _filled(columns, train)
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(values[train])
        for name, fill, seen in zip(columns, fills, encoder.categories_, strict=True):
            lacking = _lacking(columns[name][train])
            step = PreprocessingStep(
                column=name,
                kind="one_hot",
                outputs=len(seen),
                fill=fill,
                categories=list(seen),
                missing=lacking,
            )
            self.steps_.append(step)
        return [encoder.transform(values)]

    def _ordinal(self, columns: dict[str, NDArray[np.object_]], train: NDArray[np.int64]) -> list[Any]:
        from sklearn.preprocessing import OrdinalEncoder, StandardScaler  # noqa: PLC0415 - seconds

        if not columns:
            return []
        values, fills = _filled(columns, train)
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(values[train])
        codes = encoder.transform(values)
        scale = StandardScaler().fit(codes[train])
        learned = zip(columns, fills, encoder.categories_, scale.mean_, scale.scale_, strict=True)
        for name, fill, seen, mean, by in learned:
            step = PreprocessingStep(
                column=name, kind="ordinal", outputs=1, fill=fill, mean=mean, scale=by, categories=list(seen),
                missing=_lacking(columns[name][train]),
            )  # fmt: skip
            self.steps_.append(step)
        return [scale.transform(codes)]


def number_column(name: str, column: Any) -> NDArray[np.float64]:
    """(n,) from an Arrow column; what the column calls missing is NaN.

    Raises:
        DataError: a value is NaN or infinite without being missing.
    """
    import pyarrow.compute as pc  # noqa: PLC0415 - only files with columns need it

    finite = pc.fill_null(pc.is_finite(column), True).to_numpy()  # noqa: FBT003 - `fill_value`
    if not finite.all():
        where = int(np.argmin(finite))
        value = column[where].as_py()
        raise DataError(
            f"sample {where} is {value}, which is not finite; say that a value is missing with null",
            "features",
            name,
        )
    values: NDArray[np.float64] = column.to_numpy().astype(np.float64)
    return values


def _filled(
    columns: dict[str, NDArray[np.object_]], train: NDArray[np.int64]
) -> tuple[NDArray[np.object_], Sequence[str]]:
    from sklearn.impute import SimpleImputer  # noqa: PLC0415 - seconds

    values = np.stack(list(columns.values()), axis=1)
    fill = SimpleImputer(missing_values=None, strategy="most_frequent").fit(values[train])
    return fill.transform(values), fill.statistics_.tolist()


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.isnan(values) if values.dtype.kind == "f" else np.array([value is None for value in values])


def _lacking(values: NDArray[Any]) -> float:
    return float(_missing(values).mean())


def _distinct(name: str, values: NDArray[np.object_]) -> int:
    seen = {value for value in values if value is not None}
    if len(seen) > MOST_CATEGORIES:
        shown = ", ".join(sorted(seen)[:_EXAMPLES])
        raise DataError(
            f"has {len(seen)} categories ({shown}, …), more than {MOST_CATEGORIES}; list the other columns in"
            " data.features",
            "features",
            name,
        )
    return len(seen)
