"""The promises of each family beyond those of all."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.models import trees
from comptroller_trainer.models.adapters import merge
from comptroller_trainer.models.backbone import Timm, TimmParameters
from comptroller_trainer.models.base import Family, parameter_count
from comptroller_trainer.models.convolutional import Cnn, DepthwiseSeparableCnn
from comptroller_trainer.models.mlp import Mlp
from comptroller_trainer.models.recurrent import Gru, GruParameters, Recurrent
from comptroller_trainer.models.resnet import BasicBlock, Resnet, ResnetParameters
from comptroller_trainer.models.transformer import Transformer, TransformerParameters, sinusoidal
from comptroller_trainer.models.trees import Forest, Trees, TreesParameters, _below
from comptroller_trainer.stages.base import Context

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("family", "shape", "digest"),
    [
        (Cnn, (1, 28, 28), "e70cb52610ce4ac5"),
        (Cnn, (1, 40), "4271ba398bece7ed"),
        (DepthwiseSeparableCnn, (1, 28, 28), "e66eef6612a52373"),
        (DepthwiseSeparableCnn, (1, 40), "5da20603de24b8e1"),
        (Mlp, (1, 28, 28), "ed22a2f9d7a70dad"),
        (Mlp, (5,), "ea30fffea3e5d74e"),
    ],
)
def test_recorded_results_stay_reproducible(
    family: type[Family[Any]], shape: tuple[int, ...], digest: str
) -> None:
    torch.manual_seed(7)
    built = family(family.Parameters(dropout=0.1)).build(shape, 10)
    found = hashlib.sha256()
    for name, tensor in built.state_dict().items():
        found.update(name.encode())
        found.update(tensor.numpy().tobytes())
    assert found.hexdigest()[:16] == digest


def test_a_resnet_has_the_depth_of_the_paper() -> None:
    model = Resnet(ResnetParameters(width=16, depth=3)).build((3, 32, 32), 10)
    main = [m for m in model.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(main) + 1 == 20  # ResNet-20, its last layer linear
    assert sum(isinstance(m, BasicBlock) for m in model.children()) == 9
    assert 0.26e6 < parameter_count(model) < 0.29e6


def test_shared_blocks_are_stored_once() -> None:
    def size(**given: Any) -> int:
        p = TransformerParameters(width=8, heads=2, patch=2, **given)
        model = Transformer(p).build((1, 8, 8), 3)
        assert len(model.state_dict()) == len({t.data_ptr() for t in model.state_dict().values()})
        return parameter_count(model)

    assert size(depth=1, share=True) == size(depth=6, share=True) == size(depth=1)
    assert size(depth=6) > 3 * size(depth=1)


def test_sinusoidal_positions_differ_everywhere() -> None:
    places = sinusoidal([5, 7], 16)
    assert places.shape == (35, 16)
    assert torch.cdist(places, places).fill_diagonal_(1).min() > 0.1


@pytest.mark.parametrize(
    ("parameters", "rule"),
    [({"width": 12, "heads": 5}, "must divide"), ({"width": 10}, "multiple of 4")],
)
def test_heads_share_the_width(parameters: dict[str, int], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        TransformerParameters(**parameters)


def test_a_patch_is_not_larger_than_the_sample() -> None:
    with pytest.raises(AssignmentError, match=r"model.patch: 16 must not be more than an axis"):
        Transformer(TransformerParameters(patch=16)).build((1, 8, 8), 2)


@pytest.mark.parametrize("directions", [1, 2])
def test_the_last_steps_of_a_gru_are_its_final_states(directions: Literal[1, 2]) -> None:
    family = Gru(GruParameters(width=3, directions=directions, pool="last"))
    built = family.build((2, 7), 4)
    assert isinstance(built, nn.Sequential)
    recurrent, ends, *_ = built
    assert isinstance(recurrent, Recurrent)
    inputs = torch.rand(5, 2, 7)
    _, final = recurrent.gru(inputs.transpose(1, 2))  # (directions, n, width)
    assert torch.allclose(ends(recurrent(inputs)), final.transpose(0, 1).flatten(1))


# -- trees ---------------------------------------------------------------------------------------------


def table(classes: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(400, 5)).astype(np.float32)
    inputs[rng.random(inputs.shape) < 0.1] = np.nan
    value = np.nan_to_num(inputs[:, 0]) * 30 + np.nan_to_num(inputs[:, 1]) ** 2 + 150
    labels = np.digitize(value, np.quantile(value, np.arange(1, classes) / classes)) if classes else value
    kind = torch.int64 if classes else torch.float32
    return Samples(torch.from_numpy(inputs), torch.from_numpy(labels).to(kind))


@pytest.mark.parametrize("classes", [0, 2, 4])
def test_trees_predict_what_scikit_learn_does(
    classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grown: list[Any] = []
    plain = trees.Forest

    def watched(boosting: Any, classes: Any) -> trees.Forest:
        grown.append(boosting)
        return plain(boosting, classes)

    monkeypatch.setattr(trees, "Forest", watched)
    samples = table(classes)
    weights = torch.linspace(0.1, 2, 400)
    context = Context(3, 1, classes, (5,), CPU, tmp_path)
    model = Trees(TreesParameters(rounds=30)).train(samples, weights, 1.0, context)
    assert parameter_count(model) == 2 * sum(len(tree.nodes) for r in grown[0]._predictors for tree in r)
    other = table(classes, seed=1).inputs
    (boosting,) = grown
    if classes:
        found, expected = model(other).softmax(1), boosting.predict_proba(other.numpy())
    else:
        found, expected = model(other).flatten(), boosting.predict(other.numpy())
    assert np.allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_a_value_on_a_threshold_goes_where_scikit_learn_sends_it() -> None:
    rng = np.random.default_rng(0)
    thresholds = np.concatenate([rng.normal(size=1000), [np.inf, 0.0, 0.1]])
    near = thresholds.astype(np.float32)
    for values in (near, np.nextafter(near, np.float32(9)), np.nextafter(near, np.float32(-9))):
        assert np.array_equal(values <= _below(thresholds), values.astype(np.float64) <= thresholds)


def test_a_rung_has_its_share_of_the_rounds(tmp_path: Path) -> None:
    context = Context(3, 1, 4, (5,), CPU, tmp_path)
    family = Trees(TreesParameters(rounds=12))
    part, whole = (family.train(table(4), None, share, context) for share in (0.25, 1.0))
    assert isinstance(part, Forest)
    assert isinstance(whole, Forest)
    assert (len(part.roots), len(whole.roots)) == (3 * 4, 12 * 4)
    # The first rounds are the same ones: a later rung adds to what this one had.
    assert torch.equal(part.value, whole.value[: len(part.value)])


def test_a_class_that_was_not_selected_has_a_finite_improbable_logit(tmp_path: Path) -> None:
    samples = table(4)
    present = samples.labels != 2
    context = Context(3, 1, 4, (5,), CPU, tmp_path)
    family = Trees(TreesParameters(rounds=5))
    for keep in (present, present & (samples.labels != 1)):  # three classes, and two that share a column
        logits = family.train(samples.take(keep.nonzero().flatten()), None, 1.0, context)(samples.inputs)
        assert bool(logits.isfinite().all())
        assert logits.softmax(1)[:, 2].max() < 0.02
        assert (logits.argmax(1) == samples.labels)[keep].float().mean() > 0.8
    one = samples.take((samples.labels == 1).nonzero().flatten())
    with pytest.raises(AssignmentError, match="two classes or more"):
        family.train(one, None, 1.0, context)


# -- pretrained backbones ------------------------------------------------------------------------------


@pytest.fixture
def pretrained(tmp_path: Path) -> tuple[nn.Module, str]:
    """A network of three channels and five classes, and where its weights are."""
    import timm  # noqa: PLC0415 - seconds that other tests do not need

    torch.manual_seed(5)
    network = timm.create_model("test_resnet", num_classes=5)
    path = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), path)
    return network, f"file://{path}"


def build(shape: tuple[int, ...] = (3, 32, 32), **given: Any) -> Any:  # a module whose attributes are timm's
    return Timm(TimmParameters(**{"name": "test_resnet", **given})).build(shape, 4)


def test_pretrained_weights_are_taken_with_another_head(pretrained: tuple[nn.Module, str]) -> None:
    network, uri = pretrained
    found, expected = build(weights=uri).network.state_dict(), network.state_dict()
    same = [name for name in found if torch.equal(found[name], expected[name])]
    assert {"fc.weight", "fc.bias"} == found.keys() - same
    grey = build((1, 32, 32), weights=uri).network.state_dict()["conv1.0.weight"]
    assert torch.allclose(grey, expected["conv1.0.weight"].sum(1, keepdim=True), atol=1e-6)


def test_only_the_head_is_trained_and_frozen_norms_do_not_move(pretrained: tuple[nn.Module, str]) -> None:
    model = build(weights=pretrained[1], tune="head").train()
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        "network.fc.weight", "network.fc.bias",
    }  # fmt: skip
    before = {name: tensor.clone() for name, tensor in model.named_buffers()}
    model(torch.rand(8, 3, 32, 32))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.named_buffers())


def test_adapters_start_as_the_network_and_merge_into_it(pretrained: tuple[Any, str]) -> None:
    inputs = torch.rand(4, 3, 32, 32)
    adapted = build(weights=pretrained[1], tune="adapters", rank=2).eval()
    trainable = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert trainable
    assert all(".parametrizations." in name or name.startswith("network.fc.") for name in trainable)
    with torch.no_grad():
        start = adapted.network.forward_features(inputs)
        assert torch.equal(start, pretrained[0].eval().forward_features(inputs))
        for name, p in adapted.named_parameters():
            if name.endswith(".up"):
                p.normal_()
        moved = adapted(inputs)
        assert not torch.equal(adapted.network.forward_features(inputs), start)
        merged = merge(adapted)
        assert torch.allclose(merged(inputs), moved, atol=1e-5)
    assert merged.state_dict().keys() == build().state_dict().keys()


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"name": "resnet1"}, r"model.name: 'resnet1' is not an architecture of timm; close: resnet"),
        ({"tune": "head"}, r"model.weights: '' must name weights with model.tune head"),
        ({"weights": "file:///nowhere/x.safetensors"}, "is not there"),
        ({"name": "test_vit"}, r"model.name: 'test_vit' takes no images of 3 by 3"),
    ],
)
def test_a_backbone_that_cannot_be_is_refused(given: dict[str, Any], rule: str) -> None:
    with pytest.raises(AssignmentError, match=rule):
        build((3, 3, 3) if given.get("name") == "test_vit" else (3, 32, 32), **given)


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18", "local-dir:/tmp", "../resnet18"])
def test_no_hub_can_be_named(name: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        TimmParameters(name=name)


def test_weights_that_are_damaged_or_of_another_network_are_refused(
    pretrained: tuple[nn.Module, str],
) -> None:
    with pytest.raises(AssignmentError, match=r"lack \d+ tensors of test_vit, such as"):
        build((3, 160, 160), name="test_vit", weights=pretrained[1])
    path = Path(pretrained[1].removeprefix("file://"))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(AssignmentError, match="not a whole safetensors file"):
        build(weights=pretrained[1])
