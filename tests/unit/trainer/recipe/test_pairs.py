"""Every family with every compressor, on every kind of samples, works exactly where that is declared.

What the declaration allows is compressed and exported here where that needs no training, and by whole trials
in `benchmarks/parity.py`. What it refuses the trainer refuses, and `comptroller lint` in the same words.
"""

from functools import cache
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import nn

from comptroller.admission import admit, findings
from comptroller_api.data import Task
from comptroller_api.study import Study
from comptroller_api.trainer import KINDS, Kind, Picked, contradictions, reference, split
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.export.onnx import check_parity, export
from comptroller_trainer.models.base import Classifier, EstimatorFamily
from comptroller_trainer.recipe.description import agree, description
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.stages.base import Context
from comptroller_trainer.testing.models import SHAPES, left, samples
from support import manifests

UNTRAINED = [name for name, one in reference().compress.items() if one.place != "training"]
UNTRAINED += ["prune+int8_static"]
METHODS = [
    *UNTRAINED,
    "tune",
    "kd",
    "prune+tune",
    "prune+kd+int8_static",
    "kd+int8_dynamic",
    "qat+int8_static",
]
TASKS: tuple[Task, ...] = ("Classification", "Regression")
DATA: dict[tuple[Kind, Task], dict[str, str]] = {
    ("tables", "Classification"): {"uri": "generated:wine", "format": "Bundled"},
    ("tables", "Regression"): {"uri": "generated:diabetes", "format": "Bundled", "task": "Regression"},
    ("sequences", "Classification"): {"uri": "generated:mnist1d", "format": "MNIST1D"},
    ("images", "Classification"): {"uri": "generated:digits", "format": "Bundled"},
    ("images", "Regression"): {
        "uri": "s3://faces/x", "format": "ImageFolder", "task": "Regression", "label": "age",
    },
}  # fmt: skip
"""Data that are known to have such samples before they are read."""
SMALL = {
    "cnn": {"model.width": "8", "model.depth": "2"}, "dscnn": {"model.width": "8", "model.depth": "2"},
    "ensemble": {}, "gru": {"model.width": "4"}, "linear": {}, "mlp": {"model.width": "8"},
    "resnet": {"model.width": "8", "model.depth": "1", "model.stages": "2"},
    "timm": {"model.name": "resnet10t"},
    "transformer": {"model.width": "8", "model.depth": "1"}, "trees": {"model.rounds": "2"},
}  # fmt: skip
Pair = tuple[str, str, Kind, Task]


@cache
def declared(pair: Pair) -> str | None:
    """The rule that a pair breaks, by the description alone."""
    family, method, kind, task = pair
    stages = tuple(reference().compress[name] for name in split("compress", method))
    picked = [
        Picked("model.family", family, (reference().model[family],)),
        Picked("compress.method", method, stages),
    ]
    return next((f"{b.field}: {b.value!r} {b.rule}" for b in contradictions(picked, task, kind)), None)


def pairs(methods: list[str], tasks: tuple[Task, ...], *, allowed: bool) -> list[Any]:
    found = product(reference().model, methods, KINDS, tasks)
    return [pytest.param(p, id="-".join(p)) for p in found if (declared(p) is None) == allowed]


def around(pair: Pair, directory: Path) -> Context:
    _, _, kind, task = pair
    classes = 3 if task == "Classification" else 0
    return Context(0, 1, classes, SHAPES[KINDS.index(kind) + 1], torch.device("cpu"), directory)


def names(pair: Pair) -> dict[str, str]:
    return {"model": pair[0], "data": "all", "augment": "none", "compress": pair[1]}


def test_the_description_in_the_package_is_of_these_classes() -> None:
    assert reference() == description()


@pytest.mark.parametrize("pair", pairs(UNTRAINED, TASKS[:1], allowed=True))
def test_what_is_allowed_is_compressed_and_exported(pair: Pair, tmp_path: Path) -> None:
    context = around(pair, tmp_path)
    agree(names(pair), context)
    given = {"model.family": pair[0], "compress.method": pair[1]}
    if pair[0] == "ensemble":
        given |= left(tmp_path / "members", context.shape, context.classes)
    parsed = parse(SMALL[pair[0]] | given)
    data = samples(context.shape, context.classes)
    if isinstance(parsed.family, EstimatorFamily):
        model: nn.Module = parsed.family.train(data, None, 1.0, context)
    else:
        torch.manual_seed(0)
        body = parsed.family.build(context.shape, context.outputs)
        model = Classifier(body, torch.zeros(context.shape[0]), torch.ones(context.shape[0]), context.shape)
        parsed.compressor.check(model, context)
    dataset = cast("Dataset", SimpleNamespace(train=data))
    model = parsed.compressor.fit(model.eval(), dataset, context).model_
    graph, _ = export(model, context)
    check_parity(model, graph, data.inputs[:7])
    assert parsed.compressor.finish(graph, context).stat().st_size


@pytest.mark.parametrize("pair", pairs(METHODS, TASKS, allowed=False))
def test_what_is_refused_is_refused_by_the_trainer_and_by_lint(pair: Pair, tmp_path: Path) -> None:
    family, method, kind, task = pair
    with pytest.raises(AssignmentError) as refused:
        agree(names(pair), around(pair, tmp_path))
    assert str(refused.value) == declared(pair)
    if (kind, task) not in DATA:
        return  # no format says it before the data are read
    study = manifests.change(
        manifests.valid("Study"),
        {
            "spec.data": DATA[kind, task],
            "spec.objectives": [{"metric": "loss"}],
            "spec.space.parameters": [{"name": "recipe.lr", "type": "Float", "min": "0.1", "max": "0.2"}],
            "spec.baseline": {"model.family": family, "compress.method": method},
        },
    )
    stored = admit(study).object
    assert isinstance(stored, Study)
    error = refused.value
    assert f'spec.baseline[{error.field}]: Invalid value: "{error.value}": {error.rule}' in map(
        str, findings(stored, reference())
    )
