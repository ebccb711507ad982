"""`lint` refuses parameters as the trainer would; the API server accepts all of these."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.admission import admit, findings, read
from comptroller.admission.reach import Reach
from comptroller_api.space import Parameter, active
from comptroller_api.study import Study
from comptroller_api.trainer import Trainer, reference
from support import manifests

ROOT = Path(__file__).parents[3]


def categorical(name: str, *values: str, when: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "type": "Categorical", "values": list(values)} | ({"when": when} if when else {})


def ranged(name: str, kind: str, low: str, high: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "min": low, "max": high}


def study(
    *space: dict[str, Any], data: dict[str, str] | None = None, metric: str = "loss", **baseline: str
) -> Study:
    """Return the valid study with another space; baselines are written with `__` instead of the point."""
    fields = {
        "spec.space.parameters": list(space) or [ranged("recipe.lr", "Float", "0.1", "0.2")],
        "spec.baseline": {name.replace("__", "."): value for name, value in baseline.items()},
        "spec.objectives": [{"metric": metric}],
        "spec.data": data or {"uri": "s3://loans/x", "format": "Parquet"},
    }
    verdict = admit(manifests.change(manifests.valid("Study"), fields))
    assert verdict.refusals == ()
    assert isinstance(verdict.object, Study)
    return verdict.object


SEQUENCES = {"uri": "generated:mnist1d", "format": "MNIST1D"}
NUMBERS = {"uri": "generated:diabetes", "format": "Bundled", "task": "Regression"}
GRU = {"parameter": "model.family", "values": ["gru"]}
AT = "spec.space.parameters"

REFUSED: dict[str, tuple[Study, str]] = {
    "a name with a slip": (
        study(recipe__batchsize="64"),
        ('spec.baseline[recipe.batchsize]: Invalid value: "recipe.batchsize": is not a parameter of the'
            " trainer; close: recipe.batch_size, recipe.batch_start"),
    ),
    "a stage that is not there": (
        study(categorical("augment.policy", "flip", "flop")),
        (f'{AT}[0].values[1]: Unsupported value: "flop": supported values: "affine", "colour", "compose",'
            ' "crop", "cutmix", "erasing", "flip", "flip_crop", "mixup", "noise", "none", "randaugment",'
            ' "scale", "trivial"'),
    ),
    "stages that are drawn from a range": (
        study(ranged("model.family", "Integer", "1", "3")),
        f'{AT}[0].type: Invalid value: "Integer": names stages: it must be Categorical',
    ),
    "a parameter of another stage": (
        study(categorical("model.family", "cnn", "gru", "mlp"), categorical("model.pool", "mean", "last")),
        (f'{AT}[1].name: Invalid value: "model.pool": is not a parameter of the trainer with model.family'
            " cnn, mlp; give it a `when`"),
    ),
    "a parameter of the default's neighbour": (
        study(compress__ratio="0.5"),
        ('spec.baseline[compress.ratio]: Invalid value: "compress.ratio": is not a parameter of the trainer'
            " with compress.method none"),
    ),
    "a value out of bounds": (
        study(recipe__momentum="1"),
        'spec.baseline[recipe.momentum]: Invalid value: "1": input should be less than 1',
    ),
    "an end of a range out of bounds": (
        study(ranged("recipe.lr", "Float", "0", "0.1")),
        f'{AT}[0].min: Invalid value: "0": input should be greater than 0',
    ),
    "a value out of one stage's bounds": (
        study(categorical("model.family", "cnn", "mlp"), ranged("model.width", "Integer", "8", "4096")),
        (f'{AT}[1].max: Invalid value: "4096": input should be less than or equal to 1024, with model.family'
            " cnn"),
    ),
    "an unknown choice": (
        study(categorical("recipe.optimizer", "sgd", "sdg")),
        (f"{AT}[0].values[1]: Invalid value: \"sdg\": input should be 'sgd', 'adamw', 'adam', 'rmsprop' or"
            " 'muon'"),
    ),
    "fractions of a whole number": (
        study(ranged("recipe.batch_size", "Float", "16", "64")),
        f'{AT}[0].type: Invalid value: "Float": writes fractions, and recipe.batch_size takes whole numbers',
    ),
    "whole numbers that are no multiples": (
        study(ranged("model.width", "Integer", "16", "64"), model__family="transformer"),
        (f'{AT}[0].type: Invalid value: "Integer": proposes others than multiples of 4; list those as'
            " Categorical, with model.family transformer"),
    ),
    "all samples, and a share of them": (
        study(categorical("data.selector", "all", "rs2"), categorical("data.keep", "0.5", "1.0")),
        (f'{AT}[1].values[0]: Invalid value: "0.5": contradicts data.selector all; leave it out, or give it a'
            " `when`, with data.selector all"),
    ),
    "an order that makes no sense": (
        study(categorical("compress.method", "none", "int8_static+prune")),
        (f'{AT}[0].values[1]: Invalid value: "int8_static+prune": must first take parts out, then train, then'
            " change numbers, each once"),
    ),
    "none with another method": (
        study(compress__method="none+prune"),
        'spec.baseline[compress.method]: Invalid value: "none+prune": none stands alone',
    ),
    "a pair that the space can produce": (
        study(
            categorical("model.family", "cnn", "gru"), categorical("compress.method", "none", "prune"),
            data=SEQUENCES,
        ),
        f'{AT}[1].values[1]: Invalid value: "prune": cannot take channels out of model.family gru',
    ),
    "a pair of the space and the baseline": (
        study(categorical("compress.method", "none", "prune+tune"), model__family="resnet", data=SEQUENCES),
        (f'{AT}[0].values[1]: Invalid value: "prune+tune": has prune, which cannot take channels out of'
            " model.family resnet for sequences"),
    ),
    "trees that train further": (
        study(model__family="trees", compress__method="tune"),
        ('spec.baseline[compress.method]: Invalid value: "tune": needs a network, and model.family trees is'
            " not one"),
    ),
    "trees with logits to divide": (
        study(model__family="trees", recipe__calibration="temperature"),
        ('spec.baseline[recipe.calibration]: Invalid value: "temperature": needs a network, and model.family'
            " trees is not one"),
    ),
    "trees with layers to train first": (
        study(categorical("model.family", "cnn", "trees"), recipe__pretrain_epochs="3"),
        ('spec.baseline[recipe.pretrain_epochs]: Invalid value: "3": needs a network, and model.family trees'
            " is not one"),
    ),
    "a form that holds no int8": (
        study(categorical("compress.method", "none", "int8_static"), recipe__exports="torchscript"),
        ('spec.baseline[recipe.exports]: Invalid value: "torchscript": has torchscript, which holds the'
            " module, not the graph that compress.method int8_static changes"),
    ),
    "a form twice": (
        study(recipe__exports="torchscript+torchscript"),
        ('spec.baseline[recipe.exports]: Invalid value: "torchscript+torchscript": must name each once'),
    ),
    "trees that are watched": (
        study(model__family="trees", data__selector="rho_loss"),
        ('spec.baseline[data.selector]: Invalid value: "rho_loss": chooses during training, and'
            " model.family trees is trained in one step"),
    ),
    "trees on changed batches": (
        study(model__family="trees", augment__policy="mixup"),
        ('spec.baseline[augment.policy]: Invalid value: "mixup": has no batches to change with model.family'
            " trees"),
    ),
    "numbers without classes": (
        study(categorical("data.selector", "random", "el2n"), model__family="mlp", data=NUMBERS),
        f'{AT}[0].values[1]: Invalid value: "el2n": needs classes, and the task is regression',
    ),
    "the default family on a table": (
        study(data=NUMBERS),
        'spec.baseline[model.family]: Invalid value: "cnn": needs images or sequences, not tables',
    ),
    "stages for samples of two kinds": (
        study(model__family="gru", augment__policy="affine"),
        ('spec.baseline[augment.policy]: Invalid value: "affine": needs images, not sequences, with'
            " model.family gru"),
    ),
    "a recipe for classes": (
        study(categorical("recipe.calibration", "none", "platt"), model__family="mlp", data=NUMBERS),
        f'{AT}[0].values[1]: Invalid value: "platt": needs classes, and the task is regression',
    ),
    "smoothing for numbers": (
        study(ranged("recipe.label_smoothing", "Float", "0", "0.1"), model__family="mlp", data=NUMBERS),
        f'{AT}[0].max: Invalid value: "0.1": needs classes, and the task is regression',
    ),
    "a loss for numbers": (
        study(recipe__loss="huber"),
        ('spec.baseline[recipe.loss]: Invalid value: "huber": needs numbers to predict, and the task is'
            " classification"),
    ),
    "an exporter that is not there": (
        study(recipe__exports="torchscript+pickle"),
        ('spec.baseline[recipe.exports]: Invalid value: "torchscript+pickle": names pickle; there are mlflow,'
            " torch_export, torchscript"),
    ),
    "an objective that nobody asks to be measured": (
        study(model__family="mlp", metric="robust_accuracy"),
        ('spec.objectives[0].metric: Invalid value: "robust_accuracy": is reported only with'
            " recipe.robustness corruptions, which not every trial has"),
    ),
    "an objective that some trials measure": (
        study(
            categorical("recipe.thresholds", "none", "f1_macro"), model__family="mlp", metric="f1_macro_tuned"
        ),
        ('spec.objectives[0].metric: Invalid value: "f1_macro_tuned": is reported only with'
            " recipe.thresholds f1_macro, which not every trial has"),
    ),
}  # fmt: skip

ACCEPTED: dict[str, Study] = {
    "a parameter with a when": study(
        categorical("model.family", "cnn", "gru", "mlp"), categorical("model.pool", "mean", when=GRU)
    ),
    "a pair that a when keeps apart": study(
        categorical("model.family", "cnn", "gru"),
        categorical("compress.method", "prune", when={"parameter": "model.family", "values": ["cnn"]}),
        data=SEQUENCES,
    ),
    "a share of the samples where there is one": study(
        categorical("data.selector", "all", "rs2"),
        categorical("data.keep", "0.5", when={"parameter": "data.selector", "values": ["rs2"]}),
    ),
    "a resnet on what may be images": study(model__family="resnet", compress__method="prune"),
    "listed multiples": study(categorical("model.width", "16", "32"), model__family="transformer"),
    "a whole line": study(
        compress__method="prune+kd+int8_static", compress__ratio="0.3", compress__tune_epochs="1",
        compress__calibration="64",
    ),
    "an objective that every trial measures": study(
        model__family="mlp", recipe__robustness="corruptions", metric="robust_accuracy"
    ),
    "whole numbers for a fraction": study(ranged("recipe.weight_decay", "Integer", "0", "1")),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    one, says = REFUSED[name]
    assert [str(finding) for finding in findings(one, reference())] == [says]


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    assert findings(ACCEPTED[name], reference()) == []


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_have_no_findings(path: Path) -> None:
    for manifest in read(path):
        one = admit(manifest.content).object
        assert not isinstance(one, Study) or findings(one, reference()) == []


def test_another_trainer_has_other_stages() -> None:
    given = reference().model_dump(exclude_defaults=True)
    given["data"]["brightest"] = {"parameters": {"jitter": {"type": "number", "le": 1}}}
    mine = study(categorical("data.selector", "random", "brightest"))
    assert len(findings(mine, reference())) == 1
    assert findings(mine, Trainer.model_validate(given)) == []


NAMES = ["model.family", "model.pool", "compress.method", "data.selector"]


@given(st.data())
def test_the_pairs_that_are_checked_are_those_of_the_whole_space(data: st.DataObject) -> None:
    space: list[Parameter] = []
    for name in NAMES:
        values = data.draw(st.lists(st.sampled_from("abc"), min_size=1, unique=True), label=name)
        above = [p for p in space if p.when is None or not _nested(p, space)]
        when = data.draw(st.none() | st.sampled_from(above)) if above else None
        given: dict[str, Any] = {"name": name, "type": "Categorical", "values": values}
        if when is not None and when.values:
            given["when"] = {
                "parameter": when.name,
                "values": data.draw(st.sampled_from([when.values[:1], when.values])),
            }
        space.append(Parameter.model_validate(given))
    spec = study().spec
    spec = spec.model_copy(update={"space": spec.space.model_copy(update={"parameters": space})})
    names = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True))
    whole = {tuple(trial.get(name) for name in names) for trial in _trials(space)}
    assert set(Reach(spec).together(*names)) == whole


def _nested(parameter: Parameter, space: list[Parameter]) -> bool:
    above = next(p for p in space if parameter.when and p.name == parameter.when.parameter)
    return above.when is not None


def _trials(space: list[Parameter]) -> list[dict[str, str]]:
    """Yield every trial, parameter by parameter, each after the one that its `when` names."""
    trials: list[dict[str, str]] = [{}]
    for parameter in space:
        trials = [
            {**trial, parameter.name: value} if value is not None else trial
            for trial in trials
            for value in ((parameter.values or []) if parameter in active(space, trial) else [None])
        ]
    return trials
