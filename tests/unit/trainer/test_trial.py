"""The stages of a trial: their measurements and their results."""

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from comptroller_api.contract import IMAGE_ENV, Assignment, Report
from comptroller_api.metrics import FILE, METRICS, ON_REQUEST, PROFILE, QUALITY, SERVING, TABLE
from comptroller_trainer.errors import (
    AssignmentError,
)
from support.trials import npz

Attempt = Callable[..., Report]


@pytest.fixture
def report(attempt: Attempt) -> Report:
    return attempt()


def test_every_stage_is_timed_in_its_order(report: Report) -> None:
    names = [stage.name for stage in report.stages]
    assert names == ["data", "select", "augment", "build", "fit", "compress", "finalize", "measure", "report"]
    assert sum(stage.seconds for stage in report.stages) > 0


def test_every_metric_of_the_api_is_reported_where_it_has_a_source(report: Report) -> None:
    always = {row.name for row in TABLE if row.measurer in (QUALITY, SERVING, FILE, PROFILE)}
    expected = {name for name in always if METRICS[name].of("Classification")}
    assert report.metrics.keys() - {"energy_joules"} == expected
    assert report.metrics["accuracy"] > 0.6  # a quarter by chance
    assert (
        0
        < report.metrics["latency_p50_ms"]
        <= report.metrics["latency_p95_ms"]
        <= report.metrics["latency_p99_ms"]
    )
    assert report.metrics["peak_memory_bytes"] < 300e6  # a serving process, without torch


@pytest.mark.usefixtures("unserved")
def test_what_is_reported_on_request_is_reported_then(attempt: Attempt) -> None:
    given = dict(ON_REQUEST.values())
    assert {name for name in ON_REQUEST if METRICS[name].of("Classification")} <= set(attempt(given).metrics)


def test_artifacts_are_where_the_report_says_and_what_it_says(report: Report) -> None:
    names = {artifact.name for artifact in report.artifacts}
    assert names == {
        "model.onnx", "model.safetensors", "architecture.json", "selection.npz", "history.json",
        "recipe.json", "data.json", "assignment.json", "drift.json", "card.md",
    }  # fmt: skip
    for one in report.artifacts:
        content = Path(one.uri.removeprefix("file://")).read_bytes()
        assert "/artifacts/rungs/0/" in one.uri
        assert hashlib.sha256(content).hexdigest() == one.sha256
        assert len(content) == one.size
    assert Path(report.checkpoint.removeprefix("file://")).exists()


def test_a_report_names_what_it_was_made_from_and_with(
    attempt: Attempt, described: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(IMAGE_ENV, "registry/trainer@sha256:12")
    report = attempt()
    assert report.environment["image"] == "registry/trainer@sha256:12"
    (uri,) = [a.uri for a in report.artifacts if a.name == "assignment.json"]
    left = Path(uri.removeprefix("file://")).read_text()
    assert Assignment.model_validate_json(left) == Assignment.model_validate(described())


def test_the_test_split_is_not_touched(report: Report, idx_directory: Path) -> None:
    # The fixture's test images cannot even be opened.
    assert (idx_directory / "t10k-images-idx3-ubyte.gz").is_dir()
    assert report.metrics["accuracy"] > 0


def test_the_exported_model_takes_any_batch_of_raw_bytes(report: Report) -> None:
    (path,) = [a.uri.removeprefix("file://") for a in report.artifacts if a.name == "model.onnx"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 7):
        (logits,) = session.run(None, {"input": np.full((batch, 1, 12, 12), 255, np.float32)})
        assert logits.shape == (batch, 4)


@pytest.mark.parametrize("method", ["int8_dynamic", "int8_static"])
@pytest.mark.parametrize("family", ["cnn", "mlp"])
def test_an_int8_artifact_is_smaller_and_is_what_is_measured(
    attempt: Attempt, tmp_path: Path, method: str, family: str
) -> None:
    size = {"model.family": family, "model.width": "48"}
    if family == "cnn":
        size |= {"model.depth": "3"}
    full = attempt(size, artifacts=f"file://{tmp_path}/full")
    small = attempt(size | {"compress.method": method}, artifacts=f"file://{tmp_path}/small")
    (artifact,) = [a for a in small.artifacts if a.name == "model.onnx"]
    assert artifact.size == small.metrics["artifact_bytes"] < 0.5 * full.metrics["artifact_bytes"]
    assert small.metrics["loss"] != full.metrics["loss"]
    assert small.metrics["accuracy"] > full.metrics["accuracy"] - 0.1


@pytest.mark.parametrize("selector", ["all", "random", "rs2"])
def test_the_selected_samples_are_an_artifact_in_the_sources_own_numbers(
    attempt: Attempt, selector: str
) -> None:
    keep = {} if selector == "all" else {"data.keep": "0.25"}
    report = attempt({"data.selector": selector} | keep, epochs=2)
    (uri,) = [a.uri.removeprefix("file://") for a in report.artifacts if a.name == "selection.npz"]
    with np.load(uri) as chosen:
        epochs = [chosen[name] for name in sorted(chosen.files)]
    assert len(epochs) == (2 if selector == "rs2" else 1)
    for indices in epochs:
        assert len(indices) == len(set(indices.tolist())) == (384 if selector == "all" else 96)
        assert indices.max() < 480
    if selector == "rs2":
        assert set(epochs[0].tolist()) != set(epochs[1].tolist())


def test_generated_sequences_train(attempt: Attempt) -> None:
    report = attempt(
        {"model.family": "dscnn", "augment.policy": "flip_crop"},
        data={"uri": "generated:mnist1d", "format": "MNIST1D"},
    )
    assert report.metrics["accuracy"] > 0.15


def test_the_latency_batch_and_threads_are_the_declared_ones(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[Any] = []
    plain = subprocess.run

    def spy(command: list[str], **options: Any) -> Any:
        served.append((command[-2], np.load(command[-4]).shape))
        return plain(command, **options)

    monkeypatch.setattr(subprocess, "run", spy)
    attempt(latency={"limit": "1h", "batch": 128, "threads": 2}, epochs=1)
    assert set(served) == {("2", (128, 1, 12, 12))}  # more than the 96 there are to judge by


def test_history_has_one_validation_an_epoch(report: Report) -> None:
    (uri,) = [a.uri.removeprefix("file://") for a in report.artifacts if a.name == "history.json"]
    entries = json.loads(Path(uri).read_text())
    assert [entry["epoch"] for entry in entries] == [1, 2]
    assert 0 < entries[0]["seconds"] < entries[1]["seconds"]  # spent so far
    assert entries[0]["memory_bytes"] > 1e6


def test_training_that_diverges_says_so(attempt: Callable[..., object]) -> None:
    explosive = {"recipe.lr": "100", "recipe.weight_decay": "1", "recipe.schedule": "constant"}
    with pytest.raises(AssignmentError, match=r"recipe\.lr: '100' made training diverge"):
        attempt(explosive)


def test_stages_that_need_images_refuse_tables(tmp_path: Path, attempt: Callable[..., object]) -> None:
    data = npz(tmp_path / "npz").to_json()
    with pytest.raises(AssignmentError, match=r"model\.family: 'cnn' needs images"):
        attempt(data=data)
    with pytest.raises(AssignmentError, match=r"augment\.policy: 'flip' needs images"):
        attempt({"model.family": "mlp", "augment.policy": "flip"}, data=data)
