"""Corruptions: what each does, that they repeat, and that the report says what is left."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from comptroller_api.contract import Report
from comptroller_api.metrics import Corruption
from comptroller_trainer.data.samples import moments
from comptroller_trainer.measure.robustness import CORRUPTIONS, Usual
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, TABLE

pytestmark = pytest.mark.usefixtures("unserved")
Attempt = Callable[..., Report]
SHAPES = {IMAGE: (2, 20, 30), SEQUENCE: (2, 40), TABLE: (6,)}
EVERY = [(kind, name) for kind, those in CORRUPTIONS.items() for name in those]


def corrupted(
    kind: int, name: Corruption, step: int = 0, inputs: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    if inputs is None:
        inputs = torch.randn(200, *SHAPES[kind], generator=torch.Generator().manual_seed(0)) * 3 + 5
    usual = Usual(*(one.view(-1, *(1,) * (kind - 1)) for one in moments(inputs)))
    corrupt, severities = CORRUPTIONS[kind][name]
    return inputs, corrupt(inputs, severities[step], usual, torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_higher_severity_changes_more_and_keeps_the_shape(kind: int, name: Corruption) -> None:
    changes = []
    for step in range(len(CORRUPTIONS[kind][name][1])):
        inputs, outputs = corrupted(kind, name, step)
        assert outputs.shape == inputs.shape
        assert outputs.isfinite().all()
        # What noise, a shift or a gain moves is a distance; what is covered or lost, a count of values.
        moved = inputs != outputs if name in {"occlusion", "missing"} else (inputs - outputs).square()
        changes.append(moved.float().mean().item())
    if name == "translation":  # all of white noise is elsewhere, however far
        assert min(changes) > 0
    else:
        assert changes == sorted(set(changes))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_noise_has_the_deviation_that_is_documented(kind: int) -> None:
    inputs, outputs = corrupted(kind, "noise", 2)
    share = {IMAGE: 1.0, SEQUENCE: 1.0, TABLE: 0.5}[kind]
    assert (outputs - inputs).std().item() == pytest.approx(3 * share, rel=0.1)


def test_a_feature_that_never_varies_gets_no_noise() -> None:
    inputs = torch.randn(50, 3)
    inputs[:, 1] = 7
    _, outputs = corrupted(TABLE, "noise", 2, inputs)
    assert outputs[:, 1].eq(7).all()
    assert outputs[:, 0].ne(inputs[:, 0]).all()


def test_an_occlusion_is_one_rectangle_of_the_mean() -> None:
    inputs, outputs = corrupted(IMAGE, "occlusion", 1)
    changed = (inputs != outputs)[0, 0]
    rows, columns = changed.any(1), changed.any(0)
    assert (rows.sum().item(), columns.sum().item()) == (8, 12)  # 0.4 of 20 and of 30
    assert changed.sum() == 96
    assert outputs[0, 0][changed].unique().item() == pytest.approx(inputs[:, 0].mean().item(), abs=1e-4)


def test_a_translation_moves_by_the_share_and_repeats_the_edge() -> None:
    ramp = torch.arange(40.0).expand(50, 1, 40)
    _, outputs = corrupted(SEQUENCE, "translation", 1, ramp)  # 0.1 of 40
    left = torch.arange(40.0).add(4).clamp(max=39)
    right = torch.arange(40.0).sub(4).clamp(min=0)
    ways = [(one.equal(left[None]), one.equal(right[None])) for one in outputs]
    assert all(a != b for a, b in ways)
    assert {True, False} == {a for a, _ in ways}


def test_a_blur_keeps_the_mean_and_takes_the_detail() -> None:
    inputs, outputs = corrupted(IMAGE, "blur", 2)
    assert outputs.mean().item() == pytest.approx(inputs.mean().item(), rel=0.01)
    assert outputs.std() < 0.6 * inputs.std()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 9), (3, 2, 2)])
def test_the_smallest_images_can_be_made_worse(shape: tuple[int, ...]) -> None:
    for name in CORRUPTIONS[IMAGE]:
        inputs, outputs = corrupted(IMAGE, name, 2, torch.rand(5, *shape))
        assert outputs.shape == inputs.shape


def test_missing_values_are_as_many_as_the_severity_says() -> None:
    inputs, outputs = corrupted(TABLE, "missing", 2)
    assert (inputs != outputs).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_the_report_says_what_corruptions_leave_and_a_seed_repeats_it(attempt: Attempt) -> None:
    chosen = {"recipe.robustness": "corruptions"}
    one, again = (attempt(chosen, attempt=number).metrics for number in range(2))
    each = [one[f"accuracy_{name}"] for name in CORRUPTIONS[IMAGE]]
    assert one["robust_accuracy"] == pytest.approx(np.mean(each))
    assert one["robust_worst"] == min(each)
    assert one["robust_accuracy"] < one["accuracy"]
    robust = {name: value for name, value in one.items() if "robust" in name or name.startswith("accuracy_")}
    assert len(robust) == len(each) + 2
    assert robust.items() <= again.items()


def test_a_regression_reports_errors(attempt: Attempt) -> None:
    data = {"uri": "generated:diabetes", "format": "Bundled", "task": "Regression", "validation": "0.2"}
    chosen = {"model.family": "mlp", "recipe.lr": "0.01", "recipe.robustness": "corruptions"}
    found = attempt(chosen, data=data).metrics
    each = [found[f"rmse_{name}"] for name in CORRUPTIONS[TABLE]]
    assert found["robust_worst"] == max(each)
    assert found["robust_rmse"] == pytest.approx(np.mean(each))


def test_nobody_pays_for_what_was_not_requested(attempt: Attempt) -> None:
    assert not [name for name in attempt().metrics if "robust" in name]
