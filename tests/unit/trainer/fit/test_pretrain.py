"""Self-supervised pretraining: no label is read, it is done once, and what it leaves is trained on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from comptroller_api.contract import Report
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError, Suspended
from comptroller_trainer.fit.pretrain import contrast, pretrain
from comptroller_trainer.stages.base import Context

Attempt = Callable[..., Report]
Weights = Callable[[Report], dict[str, torch.Tensor]]
SHAPES = {"image": (1, 8, 8), "colour": (3, 8, 8), "sequence": (2, 20), "table": (6,)}


def model(shape: tuple[int, ...]) -> nn.Module:
    torch.manual_seed(0)
    size = torch.Size(shape).numel()
    return nn.Sequential(nn.Flatten(), nn.Linear(size, 16), nn.ReLU(), nn.Linear(16, 3))


def samples(shape: tuple[int, ...], labels: int = 0) -> Samples:
    drawn = torch.Generator().manual_seed(0)
    return Samples(torch.randn(96, *shape, generator=drawn), torch.full((96,), labels))


def context(shape: tuple[int, ...], kept: dict[str, Any] | None = None) -> Context:
    def keep(name: str, make: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        if kept is None:
            return make()
        if name not in kept:
            kept[name] = {key: value.clone() for key, value in make().items()}
        found: dict[str, torch.Tensor] = kept[name]
        return found

    return Context(3, 2, 3, shape, torch.device("cpu"), Path(), keep)


def weights_of(trained: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in trained.state_dict().values()]


@pytest.mark.parametrize("kind", SHAPES)
def test_all_but_the_last_layer_is_trained_and_no_label_is_read(kind: str) -> None:
    shape = SHAPES[kind]
    before = weights_of(model(shape))
    found = []
    for labels in (0, 10**6):
        one = model(shape)
        pretrain(one, samples(shape, labels), 2, context(shape))
        found.append(weights_of(one))
        assert all(parameter.grad is None for parameter in one.parameters())  # the next step is its own
    assert all(map(torch.equal, *found))
    same = [torch.equal(a, b) for a, b in zip(before, found[0], strict=True)]
    assert same == [False, False, True, True]


def test_it_is_done_once_in_a_trial() -> None:
    kept: dict[str, Any] = {}
    shape = SHAPES["table"]
    first, second = model(shape), model(shape)
    pretrain(first, samples(shape), 2, context(shape, kept))
    pretrain(second, Samples(torch.zeros(96, *shape), torch.zeros(96)), 2, context(shape, kept))
    assert all(map(torch.equal, weights_of(first), weights_of(second)))


def test_views_of_one_sample_that_are_alike_and_others_that_are_not_cost_nothing() -> None:
    apart = torch.eye(8)
    assert contrast(torch.cat([apart, apart])) < 0.1
    assert contrast(torch.cat([apart, apart.roll(1, 0)])) > 4


def test_a_trial_that_stops_and_goes_on_trains_from_the_same_start(
    attempt: Attempt, weights: Weights, tmp_path: Path
) -> None:
    parameters = {"recipe.pretrain_epochs": "1", "model.family": "mlp", "recipe.lr": "0.02"}
    whole = attempt(parameters, artifacts=f"file://{tmp_path}/whole")
    assert [stage.name for stage in whole.stages][3:6] == ["build", "pretrain", "fit"]
    with pytest.raises(Suspended):
        attempt(parameters, stop_after=5, artifacts=f"file://{tmp_path}/parts")
    parts = attempt(parameters, attempt=1, artifacts=f"file://{tmp_path}/parts")
    one, other = weights(whole), weights(parts)
    assert all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


@pytest.mark.parametrize("untrainable", [None, nn.Sequential(nn.Flatten(), nn.Linear(6, 3))])
def test_a_model_without_layers_before_its_last_is_refused(untrainable: nn.Module | None) -> None:
    """Such as trees, which are built and trained at once, and a linear model."""
    shape = SHAPES["table"]
    with pytest.raises(AssignmentError, match=r"recipe.pretrain_epochs: 2 needs a model with layers"):
        pretrain(untrainable, samples(shape), 2, context(shape))
