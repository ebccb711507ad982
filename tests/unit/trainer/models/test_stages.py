"""The newer families and policies go through all stages: trained, resumed, exported, measured."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from comptroller_api.contract import Report
from comptroller_trainer.errors import Suspended

pytestmark = pytest.mark.usefixtures("unserved")

SEQUENCES = {"uri": "generated:mnist1d", "format": "MNIST1D"}
CHAIN = {
    "augment.policy": "compose", "augment.crop": "1", "augment.noise": "0.05", "augment.schedule": "ramp",
}  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "data"),
    [
        ({"model.family": "resnet", "model.stages": "2", "augment.policy": "cutmix"}, None),
        ({"model.family": "transformer", "model.dropout": "0.1"} | CHAIN | {"augment.mixup": "0.2"}, None),
        ({"model.family": "gru", "model.dropout": "0.1", "recipe.batch_size": "256"} | CHAIN, SEQUENCES),
    ],
    ids=lambda value: value.get("model.family") if isinstance(value, dict) else None,
)
def test_a_stopped_trial_goes_on_as_one_that_never_was(
    attempt: Callable[..., Report],
    weights: Callable[[Report], dict[str, torch.Tensor]],
    parameters: dict[str, str],
    data: dict[str, str] | None,
    tmp_path: Path,
) -> None:
    given = {"data": data} if data else {}
    whole = attempt(parameters, artifacts=f"file://{tmp_path}/whole", **given)
    with pytest.raises(Suspended):
        attempt(parameters, artifacts=f"file://{tmp_path}/parts", stop_after=7, **given)
    parts = attempt(parameters, artifacts=f"file://{tmp_path}/parts", attempt=1, **given)
    one, two = weights(whole), weights(parts)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert whole.metrics["macs"] > 0
