"""Columns become features, learned from the training split alone; what cannot be used is named."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comptroller_api.data import Data
from comptroller_trainer.data.load import load
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.errors import AssignmentError

ROWS = 200
RNG = np.random.default_rng(0)
GOOD: dict[str, Any] = {
    "age": RNG.normal(40, 9, ROWS),
    "city": RNG.choice(["Ulm", "Bonn", "Kiel"], ROWS),
    "label": np.arange(ROWS) % 2,
    "person": np.arange(ROWS) // 4,
    "day": [datetime(2026, 1, 1) + timedelta(hours=int(h)) for h in RNG.permutation(ROWS)],  # noqa: DTZ001 - no zone
}


def loaded(tmp_path: Path, columns: dict[str, Any] | None = None, **changes: Any) -> Dataset:
    root = tmp_path / "source"
    root.mkdir(exist_ok=True)
    given = {name: values for name, values in (GOOD | (columns or {})).items() if values is not None}
    pq.write_table(pa.table(given), root / "part.parquet")
    settings = {"uri": f"file://{root}", "format": "Parquet", "validation": "0.25"} | changes
    return load(Data(**settings), tmp_path / "cache")


def refused(tmp_path: Path, columns: dict[str, Any] | None = None, **changes: Any) -> str:
    with pytest.raises(AssignmentError) as caught:
        loaded(tmp_path, columns, **changes)
    return str(caught.value)


FEATURES: dict[str, Any] = {"features": ["age", "city"]}


def test_numbers_are_scaled_and_categories_are_one_hot(tmp_path: Path) -> None:
    found = loaded(tmp_path, **FEATURES)
    assert found.shape == (4,)
    assert found.train.inputs[:, 0].mean().abs() < 1e-6
    assert found.train.inputs[:, 0].std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert found.train.inputs[:, 1:].sum(1).eq(1).all()
    assert found.manifest is not None
    age, city = found.manifest.preprocessing
    assert (age.kind, city.kind, city.categories) == ("number", "one_hot", ["Bonn", "Kiel", "Ulm"])
    row = int(found.validation.labels.numel()) // 2
    assert found.validation.inputs[row, 1:].max() == 1


def test_nothing_is_learned_from_validation(tmp_path: Path) -> None:
    before = loaded(tmp_path, **FEATURES)
    held = np.setdiff1d(np.arange(ROWS), before.train_index.numpy())
    age, city = GOOD["age"].copy(), GOOD["city"].astype(object)
    age[held], city[held] = 1e9, "Atlantis"
    after = loaded(tmp_path, {"age": age, "city": pa.array(city)}, **FEATURES)
    assert after.train.inputs.equal(before.train.inputs)
    assert after.validation.inputs[:, 1:].eq(0).all()  # a city that training has not seen


def test_a_missing_number_is_the_training_median(tmp_path: Path) -> None:
    age = [None if row % 10 == 0 else float(value) for row, value in enumerate(GOOD["age"])]
    found = loaded(tmp_path, {"age": age}, features=["age"])
    places = found.train_index.tolist()
    median = np.median([age[row] for row in places if age[row] is not None])
    assert found.manifest is not None
    (step,) = found.manifest.preprocessing
    assert step.fill == pytest.approx(median)
    missing = found.train.inputs[[place for place, row in enumerate(places) if row % 10 == 0], 0]
    assert step.mean is not None
    assert step.scale is not None
    assert missing.tolist() == pytest.approx([(median - step.mean) / step.scale] * len(missing), abs=1e-6)


def test_a_missing_category_is_the_most_frequent(tmp_path: Path) -> None:
    city = [None if row < 20 else "Ulm" if row % 3 else "Kiel" for row in range(ROWS)]
    found = loaded(tmp_path, {"city": city}, features=["city"])
    assert found.manifest is not None
    assert found.manifest.preprocessing[0].fill == "Ulm"
    assert found.train.inputs[found.train_index < 20].argmax(1).eq(1).all()


def test_many_categories_become_one_number(tmp_path: Path) -> None:
    found = loaded(tmp_path, {"city": [f"city {row % 40:02d}" for row in range(ROWS)]}, features=["city"])
    assert found.shape == (1,)
    assert found.manifest is not None
    (step,) = found.manifest.preprocessing
    assert step.kind == "ordinal"
    assert len(step.categories or []) == 40


def test_a_time_is_a_number_that_keeps_its_minutes(tmp_path: Path) -> None:
    found = loaded(tmp_path, features=["day"])
    assert len(set(found.train.inputs[:, 0].tolist())) == len(found.train)


def test_text_labels_are_classes_by_name(tmp_path: Path) -> None:
    found = loaded(tmp_path, {"label": ["no", "yes"] * (ROWS // 2)}, **FEATURES)
    assert found.manifest is not None
    assert found.manifest.class_names == ["no", "yes"]
    assert found.train.labels.tolist() == [row % 2 for row in found.train_index.tolist()]


def test_a_regression_is_stratified_by_its_numbers(tmp_path: Path) -> None:
    amounts = np.arange(ROWS, dtype=float)
    found = loaded(tmp_path, {"label": amounts}, task="Regression", **FEATURES)
    assert (found.classes, found.outputs) == (0, 1)
    assert found.validation.labels.histc(10, 0, ROWS).tolist() == [5] * 10
    assert loaded(tmp_path, {"label": amounts}, task="Regression", **FEATURES).train_index.equal(
        found.train_index
    )


def test_slices_are_coded_on_both_sides(tmp_path: Path) -> None:
    found = loaded(tmp_path, features=["age"], slice="city")
    assert found.slice_names == ("Bonn", "Kiel", "Ulm")
    assert found.group is not None
    assert found.slices is not None
    place = int(found.train_index[5])
    assert found.slice_names[int(found.group[5])] == GOOD["city"][place]
    assert len(found.slices) == len(found.validation)


def with_value(value: float | None) -> list[float | None]:
    ages: list[float | None] = GOOD["age"].tolist()
    ages[7] = value
    return ages


@pytest.mark.parametrize(
    ("columns", "changes", "expected"),
    [
        ({}, {"label": "y"}, "data.label: 'y' is no column; there are: age, city, label, person, day"),
        ({}, {"features": ["age", "ages"]}, "data.features: 'ages' is no column"),
        ({}, {"group": "family"}, "data.group: 'family' is no column"),
        ({}, {"time": "when"}, "data.time: 'when' is no column"),
        ({}, {"slice": "sex"}, "data.slice: 'sex' is no column"),
        ({}, {"split": "Group"}, "data.split: 'Group' needs data.group"),
        ({}, {"split": "Time"}, "data.split: 'Time' needs data.time"),
        ({"age": pa.array(with_value(np.nan))}, {}, "data.features: 'age' sample 7 is nan"),
        ({"age": pa.array(with_value(np.inf))}, {}, "data.features: 'age' sample 7 is inf"),
        ({"age": pa.array([None] * ROWS, pa.float64())}, {}, "data.features: 'age' has no value"),
        ({"city": [f"{row}" for row in range(ROWS)]}, {"slice": "age", "time": "city"}, "data.time: 'city'"),
        ({"label": [None, *range(2)] + [0] * (ROWS - 3)}, {}, "data.label: 'label' sample 0 has no label"),
        ({"label": [-1, *range(2)] + [0] * (ROWS - 3)}, {}, "label -1 of sample 0 is out of range"),
        ({"label": [0, 2] * (ROWS // 2)}, {}, "label 2 of sample 1 is out of range"),
        ({"label": [0] * (ROWS - 1) + [1]}, {}, "class 1 has a single sample"),
        ({"label": [0] * (ROWS - 1) + [1]}, {"split": "Random"}, "class 1 has a single sample"),
        ({"label": [0] * (ROWS - 1) + [1]}, {"split": "Group", "group": "person"}, "class 1 has a single"),
        ({"label": [0] * ROWS}, {}, "all samples have one label"),
        ({"label": GOOD["age"]}, {}, "data.label: 'label' is a column of double, not of classes"),
        ({"label": GOOD["city"]}, {"task": "Regression"}, "data.label: 'label' is a column of"),
        ({"label": with_value(np.inf)}, {"task": "Regression"}, "label inf of sample 7 is not finite"),
        (
            {"person": pa.array([None, *range(ROWS - 1)])},
            {"group": "person"},
            "data.group: 'person' sample 0",
        ),
        ({"age": [[1.0, 2.0]] * ROWS}, {}, "data.features: 'age (sequence), city (category)"),
        ({"age": [[1.0]] * 9 + [[1.0, 2.0]] * (ROWS - 9)}, {"features": ["age"]}, "has 2 values in sample 9"),
        ({"age": [[1.0]] * 9 + [None] * (ROWS - 9)}, {"features": ["age"]}, "has a sequence that is missing"),
        ({"age": [[np.nan]] * ROWS}, {"features": ["age"]}, "sample 0 has a value that is not finite"),
        ({"age": [["a"]] * ROWS}, {"features": ["age"]}, "is a sequence of string"),
        ({"age": [b"a"] * ROWS}, {"features": ["age"]}, "which cannot be used"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, columns: dict[str, Any], changes: dict[str, Any], expected: str
) -> None:
    assert expected in refused(tmp_path, columns, **({"features": ["age", "city"]} | changes))


def test_a_column_of_names_is_refused(tmp_path: Path) -> None:
    rows = 1500
    columns = {"name": [f"n{row}" for row in range(rows)], "label": np.arange(rows) % 2}
    with pytest.raises(
        AssignmentError, match=r"data.features: 'name' has 1350 categories \(n0, n1, n10, …\)"
    ):
        loaded(tmp_path, dict.fromkeys(GOOD) | columns, validation="0.1")


def test_no_column_left_is_refused(tmp_path: Path) -> None:
    only = dict.fromkeys(GOOD) | {"label": np.arange(ROWS) % 2}
    assert "no column is left to predict from" in refused(tmp_path, only)
