"""The manifest describes a trial's data, other data are refused, and leaks are found and reported."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller_api.data import Data
from comptroller_trainer.data import leakage
from comptroller_trainer.data.leakage import SplitSide, inspect
from comptroller_trainer.data.load import load
from comptroller_trainer.data.manifest import DataManifest, LeakageFinding
from comptroller_trainer.data.source import Codes
from comptroller_trainer.errors import AssignmentError

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 255, (200, 8, 8)).astype(np.uint8), np.arange(200) % 4


def loaded(tmp_path: Path, x: Any = X, y: Any = Y, place: str = "here", **changes: Any) -> DataManifest:
    root = tmp_path / place
    root.mkdir(exist_ok=True)
    np.savez(root / "data.npz", x_train=x, y_train=y)
    found = load(Data(**({"uri": f"file://{root}", "format": "NPZ"} | changes)), tmp_path / "cache").manifest
    assert found is not None
    return found


def test_it_says_what_was_read_and_how_it_was_split(tmp_path: Path) -> None:
    found = loaded(tmp_path)
    (source,) = found.sources
    (file,) = source.files
    assert file.size == (tmp_path / "here" / "data.npz").stat().st_size
    assert (source.samples, source.training) == (200, 180)
    assert (found.shape, found.dtype, found.classes) == ([1, 8, 8], "uint8", 4)
    assert {name: s.samples for name, s in found.splits.items()} == {"train": 180, "validation": 20}
    assert DataManifest.model_validate_json(found.model_dump_json()) == found


def test_the_same_data_have_the_same_hash_wherever_they_are(tmp_path: Path) -> None:
    here, there = loaded(tmp_path), loaded(tmp_path, place="there")
    assert here.sha256 == there.sha256
    assert loaded(tmp_path, manifest=here.sha256) == here


@pytest.mark.parametrize(
    "other",
    [{"x": X + 1}, {"y": Y[::-1]}, {"split_seed": 1}, {"validation": "0.2"}, {"split": "Random"}],
    ids=lambda other: next(iter(other)),
)
def test_other_data_are_refused(tmp_path: Path, other: dict[str, Any]) -> None:
    named = loaded(tmp_path).sha256
    with pytest.raises(AssignmentError, match=f"data.manifest: '{named}' is not the manifest of these data"):
        loaded(tmp_path, manifest=named, **other)


def test_generated_data_have_a_hash_too(tmp_path: Path) -> None:
    data = Data(uri="generated:wine", format="Bundled")
    found = load(data, tmp_path).manifest
    assert found is not None
    again = load(data.model_copy(update={"manifest": found.sha256}), tmp_path).manifest
    assert again == found


def test_absent_fields_are_absent_from_the_assignment() -> None:
    data = Data(uri="s3://datasets/mnist", format="IDX")
    assert data.to_json().keys() == {"uri", "format", "task", "split", "validation", "splitSeed"}


def sides(x: np.ndarray, y: np.ndarray, held: int) -> tuple[SplitSide, SplitSide]:
    index = np.arange(len(y))
    return SplitSide(x[:-held], y[:-held], index[:-held]), SplitSide(x[-held:], y[-held:], index[-held:])


def found(x: np.ndarray, y: np.ndarray, classes: int = 4, **more: Any) -> dict[str, LeakageFinding]:
    names = more.pop("feature_names", [])
    leakage = inspect(*sides(x, y, 40), classes, feature_names=names, **more)
    assert all(checked for checked in leakage.checked.values())
    return {finding.kind: finding for finding in leakage.findings}


def test_clean_data_have_no_findings() -> None:
    assert found(X[:, None], Y) == {}
    assert found(RNG.normal(size=(200, 20)).astype(np.float32), Y) == {}


def test_copies_across_the_split_are_counted_and_shown() -> None:
    x = X[:, None].copy()
    x[197], x[198] = x[5], x[2]
    leaks = found(x, Y)
    assert leaks["exact_duplicates"].count == 2
    assert leaks["exact_duplicates"].examples[0] == "validation sample 197 and training sample 5"
    assert "conflicting_labels" not in leaks
    other = Y.copy()
    other[198] = (other[2] + 1) % 4
    assert found(x, other)["conflicting_labels"].examples == ["validation sample 198 and training sample 2"]


def test_samples_of_any_size_are_looked_at() -> None:
    large = np.zeros((3, 1 << 25), np.uint8)
    large[1, -1] = 1
    first, second, third = leakage._hashes(large)
    assert first == third != second


def test_near_copies_are_found_and_not_counted_twice() -> None:
    x = X[:, None].copy()
    x[190], x[191] = np.clip(x[3].astype(int) + 2, 0, 255), x[4]
    leaks = found(x, Y)
    assert leaks["near_duplicates"].examples == ["validation sample 190 and training sample 3"]
    assert leaks["exact_duplicates"].count == 1


def test_near_copies_are_found_among_many_features() -> None:
    x = RNG.normal(size=(200, 500)).astype(np.float32)
    x[199] = x[11] + RNG.normal(size=500).astype(np.float32) * 0.02
    assert found(x, Y)["near_duplicates"].examples == ["validation sample 199 and training sample 11"]


def test_a_group_on_both_sides_is_named() -> None:
    group = Codes.of(["shared" if row in {3, 199} else f"p{row}" for row in range(200)])
    leak = found(X[:, None], Y, group=group)["groups"]
    assert (leak.count, leak.of, leak.examples) == (1, 40, ["group 'shared' is on both sides"])


def test_training_on_the_future_is_counted() -> None:
    assert "time" not in found(X[:, None], Y, time=np.arange(200))
    assert found(X[:, None], Y, time=np.arange(200)[::-1].copy())["time"].count == 160


def test_a_feature_that_knows_the_label_is_named() -> None:
    x = RNG.normal(size=(200, 3)).astype(np.float32)
    x[:, 1] = Y * 10 + RNG.normal(size=200) * 0.01
    leak = found(x, Y, feature_names=["a", "b", "c"])["label_known"]
    assert leak.examples == ["b: balanced accuracy 1.000 alone"]


def test_a_feature_that_is_the_number_to_predict_is_named() -> None:
    x = RNG.normal(size=(200, 3)).astype(np.float32)
    assert "label_known" not in found(x, (x[:, 2] + x[:, 0]).astype(np.float32), classes=0)
    leak = found(x, (x[:, 2] * 3).astype(np.float32), classes=0)["label_known"]
    assert leak.examples[0].startswith("feature 2: R²")


def test_a_rare_class_does_not_make_every_feature_know_the_label() -> None:
    y = np.zeros(600, np.int64)
    y[[3, 5, 599]] = 1
    x = RNG.normal(size=(600, 3)).astype(np.float32)
    assert inspect(*sides(x, y, 200), 2, feature_names=[]).findings == []


def test_leaks_are_in_the_manifest_and_do_not_fail(tmp_path: Path) -> None:
    doubled = np.concatenate([X[:100], X[:100]])
    leaks = {f.kind: f for f in loaded(tmp_path, doubled, np.tile(Y[:100], 2)).leakage.findings}
    assert leaks["exact_duplicates"].count > 0
