"""Compressors one after the other: channels are really gone, training continues, teachers teach."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from comptroller_api.contract import Report
from comptroller_trainer.errors import AssignmentError, NoGainError, Suspended
from comptroller_trainer.export.onnx import export
from comptroller_trainer.measure.gain import against_parent
from comptroller_trainer.measure.session import open_session
from comptroller_trainer.models.rebuild import rebuilt
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.soft_targets import SoftTargets, last_input
from support.trials import path

pytestmark = pytest.mark.usefixtures("unserved")
Attempt = Callable[..., Report]
Weights = Callable[[Report], dict[str, torch.Tensor]]
SMALL = {"model.width": "16", "model.depth": "2"}
PRUNED = SMALL | {"compress.ratio": "0.5"}


@pytest.mark.parametrize("importance", ["magnitude", "taylor", "bn_scale"])
@pytest.mark.parametrize("scope", ["layer", "network"])
def test_channels_are_gone_from_what_is_shipped(attempt: Attempt, importance: str, scope: str) -> None:
    chosen = {"compress.method": "prune", "compress.importance": importance, "compress.scope": scope}
    found = attempt(PRUNED | chosen, epochs=1)
    whole = parse({"model.family": "cnn"} | SMALL).family.build((1, 12, 12), 4)
    parameters = sum(p.numel() for p in whole.parameters())
    assert found.metrics["parameters"] < 0.5 * parameters
    shipped = [t for t in onnx.load(path(found, "model.onnx")).graph.initializer if len(t.dims) > 1]
    assert sum(np.prod(t.dims) for t in shipped) < 0.5 * parameters


@pytest.mark.parametrize("family", ["cnn", "dscnn", "resnet", "mlp"])
def test_a_pruned_model_is_rebuilt_from_its_files(attempt: Attempt, family: str) -> None:
    found = attempt(PRUNED | {"model.family": family, "compress.method": "prune"}, epochs=1)
    architecture = json.loads(path(found, "architecture.json").read_text())
    model = rebuilt(architecture, load_file(path(found, "model.safetensors")))
    inputs = torch.randint(0, 256, (5, 1, 12, 12)).float()
    session = open_session(path(found, "model.onnx"), "CPU", 1)
    (expected,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    with torch.no_grad():
        assert np.allclose(model(inputs).numpy(), expected, atol=1e-3)


@pytest.mark.parametrize(
    "method", ["prune+tune", "prune+kd", "kd", "prune+kd+int8_static", "prune+qat+int8_static"]
)
def test_training_further_stops_and_goes_on_exactly(
    attempt: Attempt, weights: Weights, tmp_path: Path, method: str
) -> None:
    parameters = SMALL | {"compress.method": method, "compress.tune_epochs": "2"}
    whole = attempt(parameters, artifacts=f"file://{tmp_path}/whole")
    for number, stop_after in enumerate((3, 15)):
        with pytest.raises(Suspended):
            attempt(parameters, stop_after=stop_after, stop_in="compress", attempt=number)
    parts = attempt(parameters, attempt=2)
    ours, theirs = weights(whole), weights(parts)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("int8_static+prune", "must first take parts out"),
        ("tune+kd", "must first take parts out"),
        ("prune+qat", "has qat, which wants int8_static after it"),
        ("none+prune", "none stands alone"),
        ("prune+shrink", "'shrink' is not known"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(method: str, message: str) -> None:
    with pytest.raises(AssignmentError, match=message):
        parse({"compress.method": method})


def test_a_parameter_of_none_of_them_is_refused() -> None:
    with pytest.raises(AssignmentError, match=r"with compress.method 'prune\+int8_static'"):
        parse({"compress.method": "prune+int8_static", "compress.tune_epochs": "1"})


@pytest.mark.parametrize("family", ["gru", "transformer"])
def test_a_model_whose_channels_are_not_known_is_refused(attempt: Attempt, family: str) -> None:
    data = {"uri": "generated:mnist1d", "format": "MNIST1D", "validation": "0.2"}
    parameters = {"model.family": family, "model.width": "16", "model.depth": "1", "compress.method": "prune"}
    with pytest.raises(AssignmentError, match=r"compress.method: 'prune' cannot take channels out"):
        attempt(parameters, data=data, epochs=1, totalEpochs=1)


def test_a_student_follows_its_teacher() -> None:
    torch.manual_seed(0)
    teacher, student = (nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(2))
    inputs = torch.randn(64, 6)
    for features in (False, True):
        soft = SoftTargets(teacher.eval(), 1.0, 2.0, features=features)
        optimizer = torch.optim.Adam(student.parameters(), 0.02)
        seen = []
        for _ in range(150):
            with last_input(student) as given:
                outputs = student(inputs)
            loss = soft.blended(torch.zeros(64), inputs, outputs, given[-1]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen.append(loss.item())
        assert seen[-1] < 0.2 * seen[0], features
    own = soft.blended(torch.ones(64), inputs, teacher(inputs), teacher[:2](inputs))
    assert own.mean().item() < 1e-6


def test_another_trials_model_teaches(attempt: Attempt, tmp_path: Path) -> None:
    large = attempt({"model.width": "16"}, artifacts=f"file://{tmp_path}/large")
    teacher = path(large, "model.safetensors").parent.as_uri()
    found = attempt({"compress.method": "kd", "compress.teacher": teacher})
    assert found.metrics["accuracy"] > 0.3
    with pytest.raises(AssignmentError, match=r"compress.teacher: .* holds no model"):
        attempt({"compress.method": "kd", "compress.teacher": "file:///nowhere"}, attempt=1)


def test_an_onnx_file_teaches_as_the_weights_it_was_made_from(
    attempt: Attempt, weights: Weights, tmp_path: Path
) -> None:
    large = attempt({"model.width": "16"}, artifacts=f"file://{tmp_path}/large")
    by_file, by_rung = (
        attempt(
            {"compress.method": "kd", "compress.alpha": "1", "compress.teacher": uri}
            | {"compress.teacher_sha256": next(a.sha256 for a in large.artifacts if a.name == name)},
            artifacts=f"file://{tmp_path}/{name}",
        )
        for name, uri in {
            "model.onnx": path(large, "model.onnx").as_uri(),
            "model.safetensors": path(large, "model.onnx").parent.as_uri(),
        }.items()
    )
    ours, theirs = weights(by_file), weights(by_rung)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-2) for name in ours)


@pytest.mark.parametrize(
    ("shape", "classes", "given", "message"),
    [
        ((1, 12, 12), 4, {"compress.teacher_sha256": "0" * 64}, "compress.teacher_sha256: '0{64}' is not of"),
        ((1, 12, 12), 4, {"compress.match": "features"}, "compress.match: 'features' needs a teacher with"),
        ((1, 12, 12), 3, {}, r"gives torch.float32 of \(3, 3\) for 3 samples of 4 classes, not their logits"),
        ((1, 10, 10), 4, {}, r"compress.teacher: .*takes no samples of \(1, 12, 12\): .*invalid dimensions"),
        (None, 4, {}, "compress.teacher: .*takes no samples"),
    ],
)
def test_an_onnx_file_that_cannot_teach_is_refused_before_training(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shape: tuple[int, ...] | None,
    classes: int, given: dict[str, str], message: str,
) -> None:  # fmt: skip
    monkeypatch.delattr("comptroller_trainer.fit.loop.TrainingLoop.run")
    file = tmp_path / "model.onnx"
    if shape is None:
        file.write_bytes(b"no graph")
    else:
        context = Context(0, 1, classes, shape, torch.device("cpu"), tmp_path)
        export(nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes)), context)
    with pytest.raises(AssignmentError, match=message):
        attempt({"compress.method": "kd", "compress.teacher": file.as_uri()} | given)


def test_an_onnx_file_that_is_not_there_is_refused(attempt: Attempt) -> None:
    with pytest.raises(AssignmentError, match=r"compress.teacher: .* holds no model: .*no such object"):
        attempt({"compress.method": "kd", "compress.teacher": "file:///nowhere/model.onnx"})


BEFORE = {"latency_p50_ms": 1.0, "artifact_bytes": 100.0, "accuracy": 0.9}


@pytest.mark.parametrize(
    ("must", "milliseconds", "size", "held"),
    [
        ("gain", 0.5, 200.0, True),
        ("gain", 2.0, 50.0, True),
        ("gain", 0.97, 100.0, False),
        ("faster", 2.0, 50.0, False),
        ("faster", 0.9, 200.0, True),
        ("smaller", 0.5, 100.0, False),
        ("smaller", 2.0, 99.0, True),
        ("anything", 2.0, 200.0, True),
    ],
)
def test_an_artifact_has_to_be_what_was_asked_beside_its_parent(
    must: Any, milliseconds: float, size: float, held: bool
) -> None:
    ours = {"latency_p50_ms": milliseconds, "artifact_bytes": size, "accuracy": 0.8}
    again: list[int] = []

    def measured_again() -> tuple[dict[str, float], dict[str, float]]:
        again.append(1)
        return ours, BEFORE

    if held:
        found = against_parent(must, ours, BEFORE, measured_again)
        assert (found["parent_accuracy"], found["accuracy"]) == (0.9, 0.8)
        assert not again
    else:
        with pytest.raises(
            NoGainError, match=f"artifact {milliseconds:g} ms, {size:.0f} bytes; parent 1 ms, 100"
        ):
            against_parent(must, ours, BEFORE, measured_again)


def test_a_neighbour_that_was_in_the_way_is_no_reason_to_refuse() -> None:
    ours, quiet = BEFORE | {"latency_p50_ms": 3.0}, BEFORE | {"latency_p50_ms": 0.5}
    found = against_parent("faster", ours, BEFORE, lambda: (quiet, BEFORE))
    assert (found["latency_p50_ms"], found["parent_latency_p50_ms"]) == (0.5, 1.0)


def test_a_neighbour_that_was_in_the_way_of_the_parent_is_no_reason_to_accept() -> None:
    ours, disturbed = (
        BEFORE | {"artifact_bytes": 200.0},
        BEFORE | {"latency_p50_ms": 5.0, "latency_trusted": 0.0},
    )
    with pytest.raises(NoGainError, match="parent 1 ms"):
        against_parent("gain", ours, disturbed, lambda: (ours, BEFORE))


def test_a_line_has_to_be_what_its_strictest_step_requires() -> None:
    must = [
        parse({"compress.method": method} | given).compressor.must
        for method, given in [
            ("kd+int8_dynamic", {}), ("tune", {}), ("prune+kd", {}),
            ("kd+int8_dynamic", {"compress.must": "smaller"}),
        ]
    ]  # fmt: skip
    assert must == ["gain", "anything", "gain", "smaller"]


def test_the_parent_stands_in_the_report(attempt: Attempt) -> None:
    found = attempt(PRUNED | {"compress.method": "prune"}, epochs=1)
    assert found.metrics["parent_artifact_bytes"] > found.metrics["artifact_bytes"]
    assert "parent_accuracy" in found.metrics
    assert not [name for name in attempt(epochs=1, attempt=1).metrics if name.startswith("parent_")]


def test_after_a_curriculum_all_samples_are_there(attempt: Attempt, tmp_path: Path) -> None:
    tuned = {"compress.method": "tune", "compress.tune_epochs": "1"}
    steps = []
    for name, chosen in {"all": {}, "curriculum": {"data.start": "0.2"}}.items():
        place = tmp_path / name
        attempt(SMALL | tuned | chosen | {"data.selector": name}, epochs=1, artifacts=f"file://{place}")
        (pointer,) = place.glob("tuned/0/**/*.json")
        steps.append(json.loads(pointer.read_text())["state"]["steps"])
    assert steps[0] == steps[1]
