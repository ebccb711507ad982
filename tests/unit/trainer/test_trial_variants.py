"""Trials other than the usual one: trees, regressions, selectors that watch, every family resumed."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comptroller_api.contract import Report
from comptroller_trainer.errors import AssignmentError, Suspended
from support import trials

pytestmark = pytest.mark.usefixtures("unserved")
Attempt = Callable[..., Report]
TABLE = {"uri": "generated:breast_cancer", "format": "Bundled", "validation": "0.2"}
NUMBERS = {"uri": "generated:diabetes", "format": "Bundled", "task": "Regression", "validation": "0.2"}
SEQUENCES = {"uri": "generated:mnist1d", "format": "MNIST1D", "validation": "0.2"}
FAMILIES: dict[str, dict[str, Any]] = {
    "cnn": {}, "dscnn": {}, "mlp": {}, "linear": {}, "resnet": {}, "transformer": {},
    "gru": {"data": SEQUENCES},
}  # fmt: skip
KNOBS = {"linear": {"recipe.batch_size": "32"}, "gru": {"recipe.batch_size": "256"}}


@pytest.fixture
def bare(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> Attempt:
    """Attempts without the parameters that other families do not have."""
    monkeypatch.setattr(trials, "SMALL", {})
    return attempt


def read(found: Report, name: str) -> Path:
    (uri,) = [a.uri for a in found.artifacts if a.name == name]
    return Path(uri.removeprefix("file://"))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_resumes_exactly(
    bare: Attempt, weights: Callable[..., Any], tmp_path: Path, family: str
) -> None:
    parameters = {"model.family": family, "recipe.batch_size": "32"} | KNOBS.get(family, {})
    options = FAMILIES[family]
    whole = bare(parameters, artifacts=f"file://{tmp_path}/whole", **options)
    with pytest.raises(Suspended):
        bare(parameters, stop_after=random.Random(family).randint(1, 20), **options)
    ours, theirs = weights(whole), weights(bare(parameters, attempt=1, **options))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_trees_are_trained_without_the_loop(bare: Attempt) -> None:
    found = bare({"model.family": "trees"}, data=TABLE)
    assert found.metrics["accuracy"] > 0.9
    assert found.epochs == 2
    assert [entry["epoch"] for entry in json.loads(read(found, "history.json").read_text())] == [2]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"data.selector": "infobatch"}, "data.selector: 'infobatch' chooses during training"),
        ({"augment.policy": "mixup"}, "augment.policy: 'mixup' has no batches to change"),
    ],
)
def test_trees_refuse_what_only_the_loop_does(
    bare: Attempt, parameters: dict[str, str], expected: str
) -> None:
    with pytest.raises(AssignmentError) as caught:
        bare({"model.family": "trees"} | parameters, data=TABLE)
    assert expected in str(caught.value)


@pytest.mark.parametrize("family", ["mlp", "trees"])
def test_a_regression_is_reported_in_its_own_metrics(bare: Attempt, family: str) -> None:
    found = bare({"model.family": family, "recipe.batch_size": "32", "recipe.lr": "0.02"} if family == "mlp"
                 else {"model.family": family}, data=NUMBERS, epochs=8, totalEpochs=8)  # fmt: skip
    assert {"rmse", "mae", "r2", "loss", "macs", "activation_bytes"} <= set(found.metrics)
    assert "accuracy" not in found.metrics
    assert found.metrics["r2"] > 0.2


@pytest.mark.parametrize("selector", ["rho_loss", "infobatch"])
def test_what_a_watching_selector_chose_is_an_artifact_and_resumes(
    attempt: Attempt, weights: Callable[..., Any], tmp_path: Path, selector: str
) -> None:
    parameters = {"data.selector": selector}
    whole = attempt(parameters, artifacts=f"file://{tmp_path}/whole")
    with pytest.raises(Suspended):
        attempt(parameters, stop_after=3)
    parts = attempt(parameters, attempt=1)
    ours, theirs = weights(whole), weights(parts)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with np.load(read(whole, "selection.npz")) as chosen, np.load(read(parts, "selection.npz")) as again:
        assert {"epoch_00000", "epoch_00001"} <= set(chosen.files)
        assert all(np.array_equal(chosen[name], again[name]) for name in chosen.files)


def test_samples_with_made_labels_are_marked(attempt: Attempt) -> None:
    chosen = {"data.selector": "active", "data.keep": "0.3", "data.pseudo": "0.5", "data.proxy_epochs": "10"}
    with np.load(read(attempt(chosen), "selection.npz")) as found:
        assert 0 < len(found["taught"]) == len(found["epoch_00000"]) - round(0.3 * 384)
        assert set(found["taught"]) < set(found["epoch_00000"])


def test_synthetic_samples_are_marked(bare: Attempt) -> None:
    parameters = {"model.family": "mlp", "recipe.batch_size": "32", "recipe.oversample": "smote"}
    with np.load(read(bare(parameters, data=TABLE), "selection.npz")) as chosen:
        places = chosen["epoch_00000"]
    assert (places == -1).sum() > 50
    assert len(set(places[places >= 0].tolist())) == (places >= 0).sum()


def test_the_data_and_the_augmentation_are_described_beside_the_model(attempt: Attempt) -> None:
    found = attempt({"augment.policy": "flip_crop"})
    assert json.loads(read(found, "data.json").read_text())["classes"] == 4
    described = json.loads(read(found, "recipe.json").read_text())
    assert described["augmentation"]["parameters"]["padding"] == 2
    pointer = json.loads(Path(found.checkpoint.removeprefix("file://")).read_text())
    assert pointer["state"]["augmentation"] == described["augmentation"]
