"""Stopping and going on is the same as not stopping, bit for bit."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from comptroller_api.contract import Report
from comptroller_trainer.errors import Suspended

pytestmark = pytest.mark.usefixtures("unserved")
Attempt = Callable[..., Report]
Weights = Callable[[Report], dict[str, torch.Tensor]]

RECIPES = [
    {"model.dropout": "0.3", "augment.policy": "flip_crop", "data.selector": "rs2", "data.keep": "0.5"},
    {"recipe.optimizer": "adamw", "recipe.lr": "0.01", "recipe.schedule": "cosine", "recipe.patience": "2"},
    {"model.family": "dscnn", "data.selector": "random", "data.keep": "0.7", "recipe.label_smoothing": "0.1"},
]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("parameters", RECIPES)
def test_a_resume_at_any_step_gives_the_same_weights(
    attempt: Attempt, weights: Weights, parameters: dict[str, str], tmp_path: Path
) -> None:
    whole = attempt(parameters, artifacts=f"file://{tmp_path}/whole")
    keep = float(parameters.get("data.keep", "1"))
    total = 2 * (round(384 * keep) // 32)
    rng = random.Random(str(parameters))
    stops = [*sorted(rng.sample(range(1, total + 1), 2)), None]
    for number, stop_after in enumerate(stops):
        place = {"artifacts": f"file://{tmp_path}/parts", "attempt": number, "name": f"study-3-{number}"}
        if stop_after is None:
            parts = attempt(parameters, **place)
        else:
            with pytest.raises(Suspended):
                attempt(parameters, stop_after=stop_after, **place)
    assert same(weights(whole), weights(parts))
    assert parts.metrics["loss"] == whole.metrics["loss"]


def test_rungs_do_not_change_the_numbers(attempt: Attempt, weights: Weights, tmp_path: Path) -> None:
    whole = attempt(artifacts=f"file://{tmp_path}/whole", epochs=3, totalEpochs=3, rung=1)
    place = {"artifacts": f"file://{tmp_path}/rungs", "totalEpochs": 3}
    first = attempt(**place, epochs=1, rung=0)
    last = attempt(**place, epochs=3, rung=1, attempt=1)
    assert (first.epochs, last.epochs) == (1, 3)
    assert same(weights(whole), weights(last))
    assert not same(weights(first), weights(last))


def test_another_seed_gives_other_weights(attempt: Attempt, weights: Weights, tmp_path: Path) -> None:
    one, two, again = (
        attempt(artifacts=f"file://{tmp_path}/{n}", seed=seed, epochs=1) for n, seed in enumerate((1, 2, 1))
    )
    assert not same(weights(one), weights(two))
    assert same(weights(one), weights(again))


def test_a_truncated_checkpoint_is_skipped_for_the_one_before(
    attempt: Attempt, weights: Weights, tmp_path: Path
) -> None:
    whole = attempt(artifacts=f"file://{tmp_path}/whole")
    for number, step in enumerate((5, 15)):
        with pytest.raises(Suspended):
            attempt(stop_after=step, attempt=number)
    newest = max((tmp_path / "artifacts/checkpoints").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-100])
    assert same(weights(whole), weights(attempt(attempt=2)))


def test_checkpoints_of_other_parameters_are_not_resumed(
    attempt: Attempt, weights: Weights, tmp_path: Path
) -> None:
    fresh = attempt({"recipe.lr": "0.05"}, artifacts=f"file://{tmp_path}/fresh")
    attempt()
    assert same(weights(fresh), weights(attempt({"recipe.lr": "0.05"}, attempt=1)))


def test_two_checkpoints_are_kept_and_none_is_a_pickle(attempt: Attempt, tmp_path: Path) -> None:
    for number, step in enumerate((3, 6, 9)):
        with pytest.raises(Suspended):
            attempt(stop_after=step, attempt=number)
    left = sorted(path.name for path in (tmp_path / "artifacts/checkpoints").iterdir())
    assert left == [
        "000000000006-00001.json", "000000000006-00001.safetensors",
        "000000000009-00002.json", "000000000009-00002.safetensors",
    ]  # fmt: skip


def test_early_stopping_ends_training_for_later_rungs_too(attempt: Attempt, weights: Weights) -> None:
    hopeless = {"recipe.lr": "1e-30", "recipe.patience": "1", "model.family": "mlp"}
    first = attempt(hopeless, epochs=5, totalEpochs=9)
    later = attempt(hopeless, epochs=9, totalEpochs=9, attempt=1, rung=1)
    assert first.epochs == later.epochs == 2
    assert same(weights(first), weights(later))


def test_a_store_that_takes_no_checkpoint_makes_a_stop_no_failure(
    attempt: Attempt, weights: Weights, tmp_path: Path
) -> None:
    whole = attempt(artifacts=f"file://{tmp_path}/whole")
    place = {"artifacts": f"file://{tmp_path}/parts"}
    (tmp_path / "parts").mkdir()
    in_the_way = tmp_path / "parts" / "checkpoints"
    in_the_way.touch()
    with pytest.raises(Suspended):
        attempt(stop_after=5, **place)
    in_the_way.unlink()
    assert same(weights(whole), weights(attempt(attempt=1, **place)))
