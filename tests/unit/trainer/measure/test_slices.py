"""The quality of a model on each slice of the data, and the gaps between slices."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from comptroller_api.contract import Report
from comptroller_trainer.measure.quality import quality
from comptroller_trainer.measure.slices import slices

pytestmark = pytest.mark.usefixtures("unserved")
Attempt = Callable[..., Report]
NAMES = ("a", "b", "c")


def drawn(classes: int, count: int = 900) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outputs, labels and slices; slice `a` is predicted worse than the others."""
    rng = np.random.default_rng(0)
    labels, codes = rng.integers(0, classes, count), rng.integers(0, 3, count)
    outputs = rng.normal(size=(count, classes)).astype(np.float32)
    outputs[np.arange(count), labels] += np.where(codes == 0, 0.5, 2)
    return outputs, labels, codes


@pytest.mark.parametrize("classes", [2, 5])
def test_gaps_are_between_the_rates_of_slices(classes: int) -> None:
    outputs, labels, codes = drawn(classes)
    gaps, each = slices(outputs, labels, codes, NAMES)
    predicted = outputs.argmax(1)
    accuracy = [(predicted == labels)[codes == code].mean() for code in range(3)]
    assert [one["accuracy"] for one in each] == pytest.approx(accuracy)
    assert gaps["slice_accuracy_least"] == pytest.approx(min(accuracy)) == pytest.approx(accuracy[0])
    assert gaps["slice_accuracy_largest"] == pytest.approx(max(accuracy))
    assert gaps["gap_accuracy"] == pytest.approx(max(accuracy) - min(accuracy))

    def widest(*conditions: Any) -> float:
        rates = [
            [
                (predicted[inside] == one).mean()
                for code in range(3)
                if (inside := among(one) & (codes == code)).any()
            ]
            for one in range(classes)
            for among in conditions
        ]
        return float(max(max(those) - min(those) for those in rates))

    everyone = np.ones(len(labels), bool)
    assert gaps["gap_demographic_parity"] == pytest.approx(widest(lambda _: everyone))
    assert gaps["gap_equalised_odds"] == pytest.approx(
        widest(lambda one: labels == one, lambda one: labels != one)
    )


def test_a_model_that_serves_all_alike_has_no_gap() -> None:
    outputs, labels, _ = drawn(3, 300)
    gaps, _ = slices(np.tile(outputs, (3, 1)), np.tile(labels, 3), np.repeat([0, 1, 2], 300), NAMES)
    assert {name: gap for name, gap in gaps.items() if name.startswith("gap")} == {
        "gap_accuracy": 0, "gap_demographic_parity": 0, "gap_equalised_odds": 0,
    }  # fmt: skip


def test_slices_too_small_to_tell_are_listed_and_make_no_gap() -> None:
    outputs, labels, codes = drawn(2)
    codes[codes == 2] = 1
    codes[:29] = 2
    outputs[:29] = -outputs[:29]
    gaps, each = slices(outputs, labels, codes, NAMES)
    assert (each[2]["slice"], each[2]["samples"]) == ("c", 29)
    others = slices(outputs[29:], labels[29:], codes[29:], NAMES)[0]
    assert gaps == others
    assert float(str(each[2]["accuracy"])) < gaps["slice_accuracy_least"]


def test_one_slice_has_no_gap() -> None:
    outputs, labels, codes = drawn(2)
    gaps, each = slices(outputs, labels, np.zeros_like(codes), NAMES)
    assert gaps == {}
    assert len(each) == 1
    assert each[0].items() >= quality(outputs, labels).items()


def test_a_class_too_rare_in_a_slice_does_not_make_the_odds() -> None:
    outputs, labels, codes = drawn(2, 2000)
    labels[(codes == 0) & (np.cumsum(codes == 0) > 10)] = 0
    labels[(codes == 0) & (np.cumsum(codes == 0) <= 10)] = 1
    outputs[(codes == 0) & (labels == 1)] = [9, -9]  # all ten wrong
    gaps, _ = slices(outputs, labels, codes, NAMES)
    assert 0.1 < gaps["gap_equalised_odds"] < 0.6  # with those ten it is 0.9


def test_a_regressions_gap_is_of_its_errors() -> None:
    rng = np.random.default_rng(0)
    truth, codes = rng.normal(size=300).astype(np.float32), np.repeat([0, 1, 2], 100)
    gaps, each = slices((truth + codes + 1)[:, None].astype(np.float32), truth, codes, NAMES)
    assert set(gaps) == {"slice_rmse_least", "slice_rmse_largest", "gap_rmse"}
    assert [gaps["slice_rmse_least"], gaps["slice_rmse_largest"], gaps["gap_rmse"]] == pytest.approx(
        [1, 3, 2]
    )
    assert [one["samples"] for one in each] == [100, 100, 100]


def test_a_trial_reports_the_slices_that_its_data_declare(attempt: Attempt, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    size, place = rng.normal(size=900), rng.choice(["town", "village"], 900)
    flipped = (place == "village") & (rng.random(900) < 0.4)
    (tmp_path / "rows").mkdir()
    columns = {"size": size, "place": place, "label": ((size > 0) ^ flipped).astype(np.int64)}
    pq.write_table(pa.table(columns), tmp_path / "rows" / "part.parquet")
    data = {"uri": f"file://{tmp_path}/rows", "format": "Parquet", "slice": "place", "validation": "0.3"}
    report = attempt({"model.family": "mlp", "model.width": "16", "recipe.lr": "0.05"}, data=data)
    (uri,) = [one.uri for one in report.artifacts if one.name == "slices.json"]
    each = {one["slice"]: one for one in json.loads(Path(uri.removeprefix("file://")).read_text())}
    assert sum(one["samples"] for one in each.values()) == 270
    assert each["town"]["accuracy"] > each["village"]["accuracy"] + 0.2
    gap = each["town"]["accuracy"] - each["village"]["accuracy"]
    assert report.metrics["gap_accuracy"] == pytest.approx(gap)
