"""A recipe that has no meaning for the task is refused."""

from pathlib import Path

import pytest
import torch

from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.recipe.description import suits
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.stages.base import Context

TREES = {"model.family": "trees"}


@pytest.mark.parametrize(
    ("parameters", "classes", "expected"),
    [
        ({"recipe.loss": "mse"}, 3, "recipe.loss: 'mse' needs numbers to predict"),
        ({"recipe.loss": "focal"}, 0, "recipe.loss: 'focal' needs classes"),
        ({"recipe.class_weights": "balanced"}, 0, "recipe.class_weights: 'balanced' needs classes"),
        ({"recipe.label_smoothing": "0.1"}, 0, "recipe.label_smoothing: 0.1 needs classes"),
        ({"recipe.monitor": "rmse"}, 3, "recipe.monitor: 'rmse' needs numbers to predict"),
        ({"recipe.calibration": "platt"}, 0, "recipe.calibration: 'platt' needs classes"),
        ({"recipe.oversample": "smote"}, 0, "recipe.oversample: 'smote' needs classes"),
        ({"recipe.thresholds": "f1_macro"}, 0, "recipe.thresholds: 'f1_macro' needs classes"),
        (TREES | {"recipe.calibration": "platt"}, 3, "recipe.calibration: 'platt' needs a network"),
        (TREES | {"recipe.pretrain_epochs": "2"}, 3, "recipe.pretrain_epochs: 2 needs a network"),
    ],
)
def test_what_does_not_fit_the_task_is_refused(
    tmp_path: Path, parameters: dict[str, str], classes: int, expected: str
) -> None:
    suits(parse({}), context := Context(0, 1, classes, (4,), torch.device("cpu"), tmp_path))
    with pytest.raises(AssignmentError) as caught:
        suits(parse(parameters), context)
    assert expected in str(caught.value)
