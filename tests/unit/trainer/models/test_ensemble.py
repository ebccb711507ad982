"""An ensemble of trials' models, measured as any other candidate."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from comptroller_api.contract import Report
from comptroller_trainer.errors import AssignmentError
from support import trials
from support.trials import path

pytestmark = pytest.mark.usefixtures("unserved")
Attempt = Callable[..., Report]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No parameters that a family does not have."""
    monkeypatch.setattr(trials, "SMALL", {"recipe.batch_size": "32"})


def digest(report: Report) -> str:
    return next(a.sha256 for a in report.artifacts if a.name == "model.safetensors")


@pytest.fixture
def members(attempt: Attempt, tmp_path: Path) -> tuple[list[Report], dict[str, str]]:
    """The reports of two trials, and the parameters of their ensemble."""
    each: list[dict[str, str]] = [
        {"model.family": "mlp", "model.width": "8"}, {"model.family": "cnn", "model.width": "4"},
    ]  # fmt: skip
    reports = [
        attempt(one, artifacts=f"file://{tmp_path}/trials/{number}", seed=number)
        for number, one in enumerate(each)
    ]
    given = {"model.family": "ensemble", "model.source": f"file://{tmp_path}/trials"}
    return reports, given | {"model.members": "0/rungs/0+1/rungs/0"}


def test_it_is_shipped_and_measured_as_one_graph(
    attempt: Attempt, members: tuple[list[Report], dict[str, str]]
) -> None:
    reports, given = members
    report = attempt(given)
    inputs = {"input": np.random.default_rng(0).uniform(0, 255, (7, 1, 12, 12)).astype(np.float32)}
    logits = [
        torch.from_numpy(
            onnxruntime.InferenceSession(path(one, "model.onnx"), providers=["CPUExecutionProvider"]).run(
                None, inputs
            )[0]
        )
        for one in (*reports, report)
    ]
    mean = (logits[0].softmax(1) + logits[1].softmax(1)) / 2
    assert torch.allclose(logits[2].exp(), mean, atol=1e-5)
    for size in ("parameters", "macs"):
        assert report.metrics[size] == sum(one.metrics[size] for one in reports)
    assert report.metrics["accuracy"] >= min(one.metrics["accuracy"] for one in reports)
    described = json.loads(path(report, "architecture.json").read_text())
    assert described["parameters"]["sha256"] == "+".join(map(digest, reports))


def test_members_are_held_to_their_hashes(
    attempt: Attempt, members: tuple[list[Report], dict[str, str]]
) -> None:
    reports, given = members
    first, second = (digest(one)[:12] for one in reports)
    attempt(given | {"model.sha256": f"{first}+{second}"})
    with pytest.raises(
        AssignmentError, match=rf"model.sha256: '{second}' is not of member 0/rungs/0: {first}"
    ):
        attempt(given | {"model.sha256": f"{second}+{first}"}, attempt=1)
    with pytest.raises(AssignmentError, match="has not one for each of 2 members"):
        attempt(given | {"model.sha256": first}, attempt=1)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"model.members": ""}, r"model.members: '' must name 2 to 16 rungs below model.source"),
        ({"model.members": "0/rungs/0"}, "must name 2 to 16 rungs"),
        ({"model.source": ""}, "must name 2 to 16 rungs"),
        ({"model.members": "0/rungs/0+0/rungs/0"}, "names a rung twice"),
        ({"model.members": "0/rungs/0+5/rungs/0"}, "model.members: 'file://.*5/rungs/0' holds no model"),
    ],
)
def test_what_is_no_ensemble_is_refused(
    attempt: Attempt, members: tuple[list[Report], dict[str, str]], changes: dict[str, str], why: str
) -> None:
    with pytest.raises(AssignmentError, match=why):
        attempt(members[1] | changes)


def test_members_of_other_data_are_refused(
    attempt: Attempt, members: tuple[list[Report], dict[str, str]]
) -> None:
    data = {"uri": "generated:digits", "format": "Bundled", "validation": "0.2"}
    with pytest.raises(AssignmentError, match="is of samples of another shape, or of other classes"):
        attempt(members[1], data=data)
