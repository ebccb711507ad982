"""Temperature scaling: confidence means what it says, and no prediction changes."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from comptroller_api.contract import Report
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.measure import artifact
from comptroller_trainer.measure.calibration import temperature
from comptroller_trainer.measure.quality import quality
from comptroller_trainer.models.rebuild import rebuilt

from . import conftest

Attempt = Callable[..., Report]


@pytest.fixture(autouse=True)
def unserved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latency takes a second and a half, and is not what these promises are about."""
    served = dict.fromkeys(artifact._SERVED, 1.0)
    monkeypatch.setattr(artifact, "_serve", lambda *_: served)


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


@pytest.mark.parametrize("family", ["linear", "mlp", "cnn", "dscnn", "resnet", "transformer"])
def test_every_family_is_shipped_with_its_temperature(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    monkeypatch.setattr(conftest, "SMALL", {"recipe.batch_size": "32"})
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
    with pytest.raises(AssignmentError, match="needs a network and classes"):
        attempt({"model.family": "mlp", "recipe.calibration": "temperature", "recipe.lr": "0.01"}, data=data)
