"""Calibration: confidence means what it says; a temperature changes no prediction."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from comptroller_api.contract import Report
from comptroller_trainer.data.samples import Dataset, Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.export.onnx import export
from comptroller_trainer.measure.artifact import opened
from comptroller_trainer.measure.calibration import calibrate, isotonic, platt, temperature
from comptroller_trainer.measure.quality import quality
from comptroller_trainer.models.base import CALIBRATION, Classifier
from comptroller_trainer.models.rebuild import rebuilt
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.stages.base import Context
from support import trials

pytestmark = pytest.mark.usefixtures("unserved")
Attempt = Callable[..., Report]


@pytest.mark.parametrize("overconfident", [0.5, 1.0, 4.0])
def test_the_temperature_undoes_what_logits_were_multiplied_by(overconfident: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 5)) * 2
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (chance.cumsum(1) > rng.random((len(logits), 1))).argmax(1)
    found = temperature(logits * overconfident, labels)
    assert found == pytest.approx(overconfident, rel=0.05)
    before = quality((logits * overconfident).astype(np.float32), labels)
    after = quality((logits * overconfident / found).astype(np.float32), labels)
    assert after["accuracy"] == before["accuracy"]
    assert after["ece"] < 0.02


def test_platt_undoes_what_each_class_was_multiplied_by_and_moved() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(40_000, 3)) * 2
    chance = np.exp(true) / np.exp(true).sum(1, keepdims=True)
    labels = (chance.cumsum(1) > rng.random((len(true), 1))).argmax(1)
    by, moved = np.array([0.5, 2.0, 4.0]), np.array([1.0, 0.0, -2.0])
    logits = (true - moved) * by
    found, offset = platt(logits, labels)
    assert found == pytest.approx(by, rel=0.1)
    assert offset - offset[1] == pytest.approx(moved, abs=0.1)
    one = quality((logits / temperature(logits, labels)).astype(np.float32), labels)
    each = quality((logits / found + offset).astype(np.float32), labels)
    assert each["accuracy"] > one["accuracy"] + 0.05
    assert each["ece"] < 0.02 < one["ece"]


def bent(probability: np.ndarray) -> np.ndarray:
    """Sure too early, and then not sure enough: what no factor and no offset undoes."""
    return probability + 0.15 * np.sin(2 * np.pi * probability)


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits of two classes, each as likely as they should say before they are bent, and labels."""
    rng = np.random.default_rng(seed)
    chance = rng.random(count)
    labels = (rng.random(count) < chance).astype(np.int64)
    return np.log(np.stack([1 - bent(chance), bent(chance)], 1)), labels


def test_isotonic_straightens_what_a_temperature_cannot() -> None:
    (seen, truth), (logits, labels) = drawn(20_000, 0), drawn(20_000, 1)
    model = Classifier(nn.Identity(), torch.zeros(2), torch.ones(2), (2,))
    found = {"none": quality(logits.astype(np.float32), labels)}
    for name in ("temperature", "platt", "isotonic"):
        for buffer in CALIBRATION:
            setattr(model, buffer, None)
        calibrate(model, name, Samples(torch.from_numpy(seen).float(), torch.from_numpy(truth)))
        found[name] = quality(model(torch.from_numpy(logits).float()).numpy(), labels)
    assert found["isotonic"]["ece"] < 0.02 < min(found[name]["ece"] for name in ("temperature", "platt"))
    assert found["isotonic"]["loss"] < found["platt"]["loss"]
    assert found["isotonic"]["accuracy"] == pytest.approx(found["none"]["accuracy"], abs=0.002)


@given(st.integers(0, 2**32), st.integers(1, 300), st.sampled_from([0.1, 1.0, 30.0]))
def test_isotonic_never_falls(seed: int, count: int, sure: float) -> None:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(3), rng.integers(0, 3, count)])
    knots, rises = isotonic(rng.normal(size=(len(labels), 3)) * sure, labels)
    assert (np.diff(knots) > 0).all()
    assert (rises[:, 0] > 0).all()
    assert (rises >= 0).all()
    assert (rises.sum(1) <= 1.01).all()


@pytest.mark.parametrize(("method", "buffer"), [("platt", "offset"), ("isotonic", "rises")])
def test_more_than_a_temperature_is_shipped_too(attempt: Attempt, method: str, buffer: str) -> None:
    plain, scaled = (
        attempt({"recipe.calibration": name}, attempt=number) for number, name in enumerate(("none", method))
    )
    assert scaled.metrics["loss"] < plain.metrics["loss"]
    assert scaled.environment["exporter"] == plain.environment["exporter"] == "torchscript"
    where = {one.name: Path(one.uri.removeprefix("file://")) for one in scaled.artifacts}
    tensors = load_file(where["model.safetensors"])
    model = rebuilt(json.loads(where["architecture.json"].read_text()), tensors)
    assert torch.equal(getattr(model, buffer), tensors[buffer])
    session = onnxruntime.InferenceSession(where["model.onnx"], providers=["CPUExecutionProvider"])
    inputs = torch.rand(5, 1, 12, 12) * 255
    (logits,) = session.run(None, {"input": inputs.numpy()})
    assert model(inputs).detach().numpy() == pytest.approx(logits, abs=1e-4)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_a_calibrated_model_in_int8_gives_numbers(method: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    labels = torch.arange(2000) % 4
    samples = Samples(nn.functional.one_hot(labels, 6).float() + torch.randn(2000, 6) / 10, labels)
    first, last = nn.Linear(6, 16), nn.Linear(16, 4)
    body = nn.Sequential(first, nn.ReLU(), last)
    model = Classifier(body, torch.zeros(6), torch.ones(6), (6,)).eval()
    first.weight.data[:6], last.weight.data[:, :6] = torch.eye(6), 20 * torch.eye(4, 6)
    calibrate(model, method, samples)
    context = Context(0, 1, 4, (6,), torch.device("cpu"), tmp_path)
    graph, _ = export(model, context)
    dataset = Dataset(samples, samples, 4, torch.arange(2000))
    compressor = parse({"compress.method": "int8_static"}).compressor.fit(model, dataset, context)
    infer = opened(compressor.finish(graph, context), "CPU", 1)
    assert np.isfinite(outputs := infer(samples.inputs)).all()
    assert quality(outputs, labels.numpy())["accuracy"] > 0.9


def test_a_parent_is_calibrated_as_its_child_is(attempt: Attempt) -> None:
    calibrated = {"recipe.calibration": "temperature"}
    alone = attempt(calibrated)
    pruned = attempt(calibrated | {"compress.method": "sparse", "compress.must": "anything"}, attempt=1)
    assert pruned.metrics["parent_loss"] == pytest.approx(alone.metrics["loss"], rel=1e-6)
    assert pruned.metrics["parent_artifact_bytes"] == alone.metrics["artifact_bytes"]


@pytest.mark.parametrize("method", ["platt", "isotonic"])
def test_a_number_for_each_class_needs_every_class_in_validation(method: str) -> None:
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), torch.zeros(4), torch.ones(4), (4,))
    seen = Samples(torch.rand(9, 4), torch.tensor([0, 2, 0] * 3))
    with pytest.raises(AssignmentError, match=rf"'{method}' needs validation of class 1 too"):
        calibrate(model, method, seen)


@pytest.mark.parametrize("family", ["linear", "mlp", "cnn", "dscnn", "resnet", "transformer"])
def test_every_family_is_shipped_with_its_temperature(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setattr(trials, "SMALL", {"recipe.batch_size": "32"})
    chosen = {"model.family": family, "recipe.optimizer": "adamw", "recipe.lr": "0.003"}
    plain, scaled = (
        attempt(chosen | {"recipe.calibration": name}, attempt=number)
        for number, name in enumerate(("none", "temperature"))
    )
    assert scaled.metrics["accuracy"] == plain.metrics["accuracy"]
    assert scaled.metrics["loss"] <= plain.metrics["loss"] + 1e-6
    where = {one.name: Path(one.uri.removeprefix("file://")) for one in scaled.artifacts}
    tensors = load_file(where["model.safetensors"])
    model = rebuilt(json.loads(where["architecture.json"].read_text()), tensors)
    assert model.temperature is not None
    assert torch.equal(model.temperature, tensors["temperature"])


def test_numbers_have_no_confidence(attempt: Attempt) -> None:
    data = {"uri": "generated:diabetes", "format": "Bundled", "task": "Regression", "validation": "0.2"}
    with pytest.raises(AssignmentError, match="needs classes, and the task is regression"):
        attempt({"model.family": "mlp", "recipe.calibration": "temperature", "recipe.lr": "0.01"}, data=data)
