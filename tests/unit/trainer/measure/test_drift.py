"""The profile that is saved with a model, and the check of new data against it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.stats import ks_2samp

from comptroller_api.contract import Report
from comptroller_api.data import Data
from comptroller_trainer.data.load import load
from comptroller_trainer.data.read import read_inputs
from comptroller_trainer.data.samples import Dataset, Samples
from comptroller_trainer.main import main
from comptroller_trainer.measure.drift import DriftProfile, drift_profile, drift_results

pytestmark = pytest.mark.usefixtures("unserved")
Attempt = Callable[..., Report]
ROWS = 1200
DATA = Data.model_validate({"uri": "file:///x", "format": "NPZ"})


def table(seed: int, rows: int = ROWS) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 9, rows)
    city = rng.choice(["Ulm", "Bonn", "Kiel"], rows, p=[0.6, 0.3, 0.1])
    return {
        "age": [None if draw < 0.1 else value for value, draw in zip(age, rng.random(rows), strict=True)],
        "city": city,
        "street": [f"street {n:02d}" for n in rng.integers(0, 30, rows)],
        "label": ((age > 40) ^ (rng.random(rows) < 0.1)).astype(np.int64),
    }


def written(directory: Path, columns: dict[str, Any]) -> str:
    directory.mkdir()
    pq.write_table(pa.table(columns), directory / "part.parquet")
    return f"file://{directory}"


def made(inputs: torch.Tensor, outputs: np.ndarray) -> DriftProfile:
    labels = torch.zeros(len(inputs), dtype=torch.int64)
    samples = Samples(inputs, labels)
    return drift_profile(
        Dataset(samples, samples, outputs.shape[1], torch.arange(len(inputs))),
        outputs.astype(np.float32),
        DATA,
    )


@pytest.fixture
def trained(attempt: Attempt, tmp_path: Path) -> Path:
    """The directory that a trial on `table(0)` left."""
    data = {"uri": written(tmp_path / "train", table(0)), "format": "Parquet", "validation": "0.2"}
    report = attempt({"model.family": "mlp", "model.width": "16", "recipe.lr": "0.05"}, data=data)
    (uri,) = [one.uri for one in report.artifacts if one.name == "drift.json"]
    return Path(uri.removeprefix("file://")).parent


def reported(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    code = main(["drift", *arguments, "-o", "json"])
    return code, {one["name"]: one for one in json.loads(capsys.readouterr().out)}


def test_data_of_the_same_kind_have_not_drifted(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = {name: values for name, values in table(1).items() if name != "label"}
    code, found = reported(capsys, str(trained), written(tmp_path / "new", new))
    assert code == 0
    assert set(found) == {
        "age", "city=Bonn", "city=Kiel", "city=Ulm", "street", "age: missing", "predicted class",
        "confidence",
    }  # fmt: skip
    assert max(one["psi"] for one in found.values()) < 0.1


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"age": lambda was: [None if age is None else age + 9 for age in was]}, "age"),
        ({"age": lambda was: [None if row % 2 else age for row, age in enumerate(was)]}, "age: missing"),
        ({"city": lambda was: ["Kiel"] * len(was)}, "city=Kiel"),
        ({"city": lambda was: ["Atlantis"] * len(was)}, "city=Ulm"),
    ],
)
def test_what_has_drifted_is_named_and_is_exit_1(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], name: str
) -> None:
    new = table(1)
    for column, how in change.items():
        new[column] = how(new[column])
    code, found = reported(capsys, str(trained / "drift.json"), written(tmp_path / "new", new))
    assert code == 1
    assert found[name]["drifted"]
    assert not found["street"]["drifted"]
    if name == "age":
        assert found["predicted class"]["drifted"]


def test_a_higher_threshold_lets_more_pass(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = table(1) | {"city": ["Kiel"] * ROWS}
    uri = written(tmp_path / "new", new)
    assert reported(capsys, str(trained), uri, "--psi", "100")[0] == 0
    assert reported(capsys, str(trained), uri, "--psi", "100", "--ks", "0.5")[0] == 1


def test_a_profile_alone_says_nothing_of_answers(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained / "model.onnx").unlink()
    _, found = reported(capsys, str(trained), written(tmp_path / "new", table(1)))
    assert "age" in found
    assert "confidence" not in found


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"age": ["old"] * 9, "city": ["Ulm"] * 9, "street": ["a"] * 9}, "age.*trained on: number"),
        ({"city": ["Ulm"] * 9}, "data.features: 'age' is no column"),
    ],
)
def test_other_columns_cannot_be_compared(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], columns: dict[str, Any], sentence: str
) -> None:
    assert main(["drift", str(trained), written(tmp_path / "new", columns)]) == 2
    assert re.search(sentence, capsys.readouterr().err)


def test_what_cannot_be_read_is_exit_2(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spaced = shutil.copytree(trained, tmp_path / "my runs é")
    empty = tmp_path / "empty"
    empty.mkdir()
    np.savez(empty / "new.npz", x_train=np.zeros((0, 5), np.float32), y_train=np.zeros(0, np.int64))
    for given, sentence in {
        (str(spaced), f"file://{empty}"): "no samples",
        ("gs://x/y", f"file://{empty}"): "gs://x/y",
    }.items():
        assert main(["drift", *given, "--format", "NPZ"]) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "{}"])
def test_what_is_no_profile_is_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    if content:
        (tmp_path / "drift.json").write_text(content)
    assert main(["drift", str(tmp_path), "file:///nowhere"]) == 2
    assert "drift.json" in (error := capsys.readouterr().err) or "holds no profile" in error


def test_new_rows_are_encoded_as_training_rows_were(tmp_path: Path) -> None:
    data = Data(uri=written(tmp_path / "train", table(0)), format="Parquet", validation="0.25")
    dataset = load(data, tmp_path / "cache")
    assert dataset.manifest is not None
    again, lacking = read_inputs(data, dataset.manifest.preprocessing, tmp_path / "cache")
    assert torch.from_numpy(again)[dataset.train_index].equal(dataset.train.inputs)
    assert lacking["age"] == pytest.approx(0.1, abs=0.03)
    assert lacking["city"] == 0


@pytest.mark.parametrize("shape", [(2, 6, 7), (3, 30), (4,)])
def test_a_profile_has_one_entry_a_channel_and_the_shares_of_its_values(shape: tuple[int, ...]) -> None:
    inputs = torch.randn(400, *shape)
    found = made(inputs, np.random.default_rng(0).normal(size=(400, 3)))
    assert len(found.inputs) == shape[0]
    for one in found.inputs:
        assert len(one.edges) == 9
        assert one.shares == pytest.approx([0.1] * 10, abs=0.01)
    klass, confidence = found.outputs
    assert len(klass.shares) == 3
    assert confidence.shares == pytest.approx([0.1] * 10, abs=0.01)


def test_psi_and_ks_are_those_of_the_bins() -> None:
    old, new = torch.randn(5000, 1), torch.randn(5000, 1) + 0.5
    answers = np.zeros((5000, 2))
    was = made(old, answers)
    (found,) = drift_results(was, new, {}, None)
    edges = [-np.inf, *was.inputs[0].edges, np.inf]
    p, q = (np.histogram(values.numpy(), edges)[0] / 5000 for values in (old, new))
    assert found.psi == pytest.approx(((q - p) * np.log(q / p)).sum(), rel=1e-6)
    exact = ks_2samp(old[:, 0].numpy(), new[:, 0].numpy()).statistic
    assert exact - 0.05 < found.ks <= exact + 1e-9
    (same,) = drift_results(was, old, {}, None)
    assert same.psi == same.ks == 0


@pytest.mark.parametrize("share", [0.02, 0.98])
def test_a_feature_that_is_nearly_always_one_value_still_tells(share: float) -> None:
    rng = torch.Generator().manual_seed(0)
    spread = torch.rand(2000, 1, generator=rng)
    often = torch.rand(2000, 1, generator=rng) < share
    was = made(torch.where(often, torch.ones(()), spread), np.zeros((2000, 2)))
    (found,) = drift_results(was, spread if share > 0.5 else torch.ones(2000, 1), {}, None)
    assert found.psi > 0.2


def test_samples_by_chance_are_as_far_as_expected() -> None:
    was = made(torch.randn(1000, 300), np.zeros((1000, 2)))
    found = list(drift_results(was, torch.randn(500, 300), {}, None))
    assert np.mean([one.psi for one in found]) == pytest.approx(found[0].chance, rel=0.15)


def test_many_classes_by_chance_have_not_drifted() -> None:
    drawn = np.random.default_rng(0)

    def answers(count: int) -> np.ndarray:
        return np.eye(100, dtype=np.float32)[drawn.integers(0, 100, count)]

    was = made(torch.randn(1000, 4), answers(10_000))
    (one,) = [
        d for d in drift_results(was, torch.randn(500, 4), {}, answers(500)) if d.name.startswith("pred")
    ]
    assert one.psi > 0.2
    assert one.psi < 2 * one.chance


def test_samples_that_were_made_up_are_not_in_the_profile() -> None:
    inputs = torch.cat([torch.zeros(50, 1), torch.ones(50, 1)])
    samples = Samples(inputs, torch.zeros(100, dtype=torch.int64))
    index = torch.cat([torch.arange(50), torch.full((50,), -1)])
    found = drift_profile(Dataset(samples, samples, 2, index), np.zeros((100, 2), np.float32), DATA)
    assert found.training == 50
    assert found.inputs[0].shares == [1.0]
