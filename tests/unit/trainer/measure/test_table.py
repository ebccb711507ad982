"""The trainer reports the metrics of the table and no others, and measures every one."""

from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from comptroller_api.contract import Report
from comptroller_api.data import Task
from comptroller_api.metrics import (
    MEASURERS,
    METRICS,
    PARENT,
    PROFILE,
    QUALITY,
    ROBUSTNESS,
    SERVING,
    SLICES,
    TABLE,
    THRESHOLDS,
    Corruption,
    Measurer,
    Metric,
)
from comptroller_trainer import trial
from comptroller_trainer.compression.base import Compressor, own_metrics
from comptroller_trainer.compression.sparse import Sparse
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.fit.early_stopping import EarlyStopping
from comptroller_trainer.fit.state import TrainingState
from comptroller_trainer.learning.training import Training
from comptroller_trainer.measure.latency import ServingLaunch
from comptroller_trainer.measure.listed import listed
from comptroller_trainer.measure.quality import quality
from comptroller_trainer.measure.robustness import CORRUPTIONS
from comptroller_trainer.meter.rapl import Rapl
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.modality import IMAGE
from comptroller_trainer.stages.modality import TABLE as ROWS

Attempt = Callable[..., Report]
TASKS = get_args(Task)
OWN = Metric("codebook_entries", Measurer("house:Vq.metrics", "Codebook", "size"), "entries", "its entries")
COUNT, CLASSES = 400, 3


def measured(measurer: Measurer, task: Task, directory: Path) -> dict[str, float]:
    """Return what the function that the table names returns for samples of `task`."""
    function: Any = resolve_name(measurer.path)
    classes = CLASSES if task == "Classification" else 0
    rng = np.random.default_rng(0)
    outputs = rng.normal(size=(COUNT, classes or 1)).astype(np.float32)
    labels = rng.integers(0, classes, COUNT) if classes else rng.normal(size=COUNT).astype(np.float32)
    context = Context(0, 1, classes, (5,), torch.device("cpu"), directory)
    found: Any
    if measurer == QUALITY:
        found = function(outputs, labels)
    elif measurer == THRESHOLDS:
        found, _ = function(outputs, labels, context)
    elif measurer == ROBUSTNESS:
        samples = Samples(torch.zeros(COUNT, 5), torch.from_numpy(labels))
        found = function(lambda inputs: outputs[: len(inputs)], samples, context)
    elif measurer == SLICES:
        found, _ = function(outputs, labels, rng.integers(0, 2, COUNT), ("a", "b"))
    elif measurer == SERVING:
        launch = ServingLaunch(np.ones(20), np.zeros(20, np.int64), np.ones(2), np.zeros(1), 1.0, 1.0)
        found = function([launch] * 3, 1.0)
    else:
        model = nn.Linear(5, classes or 1)
        found = {
            name: getattr(function(model, (5,)), name) for name in ("parameters", "macs", "activation_bytes")
        }
    return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "measurer", [QUALITY, THRESHOLDS, ROBUSTNESS, SLICES, SERVING, PROFILE], ids=lambda m: m.title
)
def test_a_measurer_reports_its_rows_and_no_others(measurer: Measurer, task: Task, tmp_path: Path) -> None:
    rows = [row for row in TABLE if row.measurer == measurer and row.of(task)]
    if rows:
        found = measured(measurer, task, tmp_path)
        assert {METRICS[name] for name in found} == set(rows)
        assert not [name for name in found if name.startswith(PARENT)]


@pytest.mark.parametrize("task", TASKS)
def test_a_better_model_is_better_in_the_direction_of_the_table(task: Task) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(COUNT, CLASSES if task == "Classification" else 1)).astype(np.float32)
    labels: np.ndarray
    if task == "Classification":
        labels = rng.integers(0, CLASSES, COUNT)
        right = 20 * np.eye(CLASSES, dtype=np.float32)[labels]
    else:
        labels = rng.normal(size=COUNT).astype(np.float32)
        right = labels[:, None]
    good, bad = quality(right + np.float32(0.1) * noise, labels), quality(noise, labels)
    for name in good:
        assert (good[name] > bad[name]) == (METRICS[name].direction == "maximised"), name


def test_the_table_names_the_corruptions_that_exist() -> None:
    assert {name for corruptions in CORRUPTIONS.values() for name in corruptions} == {*get_args(Corruption)}


def expected(task: Task, kind: int) -> set[str]:
    """Return the metrics of a trial that requests everything, without slices, over samples of a kind."""
    elsewhere = tuple(f"_{name}" for name in get_args(Corruption) if name not in CORRUPTIONS[kind])
    return {
        name for name, row in METRICS.items()
        if row.of(task) and row.measurer != SLICES and not name.endswith(elsewhere)
    }  # fmt: skip


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with an energy counter."""
    domain = tmp_path / "powercap" / "intel-rapl:0"
    domain.mkdir(parents=True)
    for name in ("energy_uj", "max_energy_range_uj"):
        (domain / name).write_text("1000000")
    monkeypatch.setattr(Rapl.__init__, "__defaults__", (domain.parent,))


@pytest.mark.usefixtures("unserved", "counted")
def test_every_row_is_measured_and_every_report_is_of_the_table(attempt: Attempt) -> None:
    everything = {"compress.method": "sparse+tune", "compress.must": "anything", "compress.tune_epochs": "1",
                  "recipe.robustness": "corruptions"}  # fmt: skip
    images = attempt(everything | {"recipe.thresholds": "f1_macro"}, epochs=1).metrics
    numbers = attempt(
        everything | {"model.family": "mlp", "recipe.lr": "0.01"}, epochs=1, attempt=1,
        data={"uri": "generated:diabetes", "format": "Bundled", "task": "Regression", "validation": "0.2"},
    ).metrics  # fmt: skip
    assert images.keys() == expected("Classification", IMAGE)
    assert numbers.keys() == expected("Regression", ROWS)


def test_what_the_table_lacks_is_not_reported(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "measure", lambda *_: {"acuracy": 1.0})
    with pytest.raises(LookupError, match="the table of metrics has no acuracy for Classification"):
        attempt()


def test_a_metric_of_the_other_task_is_not_reported() -> None:
    listed(["rmse", "loss", PARENT + "rmse"], "Regression")
    with pytest.raises(LookupError, match="has no parent_rmse, rmse for Classification"):
        listed(["rmse", "loss", PARENT + "rmse"], "Classification")


def test_a_compressor_adds_its_own_rows() -> None:
    listed(["accuracy", OWN.name], "Classification", [OWN])
    with pytest.raises(LookupError, match=OWN.name):
        listed(["accuracy", OWN.name], "Classification")


class Quantizer(Compressor[Any]):
    """A compressor that counts the entries of its codebook and, on request, more."""

    found: dict[str, float]
    rows: tuple[Metric, ...]

    @property
    def measured(self) -> tuple[Metric, ...]:
        return self.rows

    def metrics(self, graph: Path) -> dict[str, float]:
        del graph
        return self.found


@pytest.mark.parametrize(
    ("found", "rows", "strange"),
    [
        ({"codebook_entries": 8.0}, (OWN,), ""),
        ({"codebook_entries": 8.0}, (), "codebook_entries"),
        ({"codebook_entries": 8.0, "codebooks": 1.0}, (OWN,), "codebooks"),
        ({"accuracy": 1.0}, (METRICS["accuracy"],), "accuracy"),
        ({"zero_share": 1.0}, (METRICS["zero_share"],), ""),
    ],
)
def test_a_compressor_reports_only_its_own_metrics(
    found: dict[str, float], rows: tuple[Metric, ...], strange: str, tmp_path: Path
) -> None:
    compressor = Quantizer(None)
    compressor.found, compressor.rows = found, rows
    if strange:
        with pytest.raises(AssignmentError, match=f"compress.method: 'vq' reports {strange}, which"):
            own_metrics("vq", compressor, tmp_path)
    else:
        assert own_metrics("vq", compressor, tmp_path) == found


def test_sparse_may_report_the_share_of_zeros() -> None:
    assert [row.name for row in Sparse(Sparse.Parameters()).measured] == ["zero_share"]


@pytest.mark.parametrize("row", [row for row in TABLE if row.measurer == QUALITY], ids=lambda row: row.name)
def test_early_stopping_prefers_the_direction_of_the_table(row: Metric) -> None:
    stopping = EarlyStopping(Training(monitor=row.name), TrainingState())
    assert stopping.better({row.name: 0.5})
    assert stopping.better({row.name: 0.6}) == (row.direction == "maximised")
    assert stopping.better({row.name: 0.4}) == (row.direction == "minimised")


def test_the_table_names_measurers_that_exist() -> None:
    for measurer in MEASURERS:
        assert callable(resolve_name(measurer.path)), measurer.path
