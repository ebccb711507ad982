"""Compressors of weights: fewer in thinner layers, or zeros that stay zero."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from comptroller_api.contract import Report
from comptroller_trainer.compression.low_rank import LowRank, LowRankParameters
from comptroller_trainer.compression.qat import FakeQuantized
from comptroller_trainer.data.samples import Dataset, Samples
from comptroller_trainer.errors import AssignmentError, NoGainError, Suspended
from comptroller_trainer.export.onnx import export
from comptroller_trainer.measure import artifact
from comptroller_trainer.measure.session import open_session
from comptroller_trainer.measure.zeros import zero_share
from comptroller_trainer.models.backbone import Timm, TimmParameters
from comptroller_trainer.models.base import Classifier
from comptroller_trainer.models.factored import Factored, layers
from comptroller_trainer.models.linear import Linear
from comptroller_trainer.models.rebuild import rebuilt
from comptroller_trainer.models.recurrent import Gru, GruParameters
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.stages.base import Context
from support.trials import latency, path

pytestmark = pytest.mark.usefixtures("unserved")
Attempt = Callable[..., Report]
Weights = Callable[[Report], dict[str, torch.Tensor]]
SMALL = {"model.width": "16", "model.depth": "2"}
THIN = SMALL | {"compress.method": "low_rank", "compress.rank": "0.25"}
SPARSE = SMALL | {"compress.method": "sparse", "compress.must": "anything"}
EMPTY = Samples(torch.zeros(0, 1), torch.zeros(0))
NO_DATA = Dataset(EMPTY, EMPTY, 4, torch.zeros(0))


def agrees(found: Report) -> nn.Module:
    """The model from the files of `found`, which computes what its graph does."""
    architecture = json.loads(path(found, "architecture.json").read_text())
    model = rebuilt(architecture, load_file(path(found, "model.safetensors")))
    inputs = torch.randint(0, 256, (5, 1, 12, 12)).float()
    session = open_session(path(found, "model.onnx"), "CPU", 1)
    (expected,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
    with torch.no_grad():
        assert np.allclose(model(inputs).numpy(), expected, atol=1e-3)
    return model


@pytest.mark.parametrize("family", ["mlp", "cnn", "dscnn", "resnet", "transformer"])
def test_a_factored_model_is_smaller_and_rebuilt_from_its_files(attempt: Attempt, family: str) -> None:
    found = attempt(THIN | {"model.family": family}, epochs=1)
    whole = parse(SMALL | {"model.family": family}).family.build((1, 12, 12), 4)
    assert found.metrics["parameters"] < 0.8 * sum(p.numel() for p in whole.parameters())
    assert found.metrics["artifact_bytes"] < found.metrics["parent_artifact_bytes"]
    assert any(isinstance(layer, Factored) for layer in agrees(found).modules())


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet"])
def test_a_factored_timm_model_is_rebuilt_from_its_weights(name: str, tmp_path: Path) -> None:
    shape, parameters = (3, 32, 32), {"name": name, "resolution": 32}
    body = Timm(TimmParameters(**parameters)).build(shape, 4)
    model = Classifier(body, torch.zeros(3), torch.ones(3), shape).eval()
    context = Context(0, 1, 4, shape, torch.device("cpu"), tmp_path)
    thin = LowRank(LowRankParameters(rank=0.25))
    thin.check(model, context)
    factored = thin.fit(model, NO_DATA, context).model_
    assert any(isinstance(layer, Factored) for layer in factored.modules())
    architecture = {"family": "timm", "parameters": parameters, "shape": shape, "classes": 4}
    samples = torch.randn(2, *shape)
    with torch.no_grad():
        assert torch.equal(rebuilt(architecture, factored.state_dict())(samples), factored(samples))


def test_grouped_convolutions_are_rebuilt_with_their_groups() -> None:
    shape, parameters = (3, 32, 32), {"name": "regnetx_002", "resolution": 32}
    body = Timm(TimmParameters(**parameters)).build(shape, 4)
    model = Classifier(body, torch.zeros(3), torch.ones(3), shape).eval()
    architecture = {"family": "timm", "parameters": parameters, "shape": shape, "classes": 4}
    samples = torch.randn(2, *shape)
    with torch.no_grad():
        assert torch.equal(rebuilt(architecture, model.state_dict())(samples), model(samples))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(12, 8),
        nn.Conv1d(5, 8, 3, padding=1, stride=2, bias=False),
        nn.Conv2d(6, 8, (3, 5), padding=(1, 2), stride=(2, 1), dilation=(1, 2), padding_mode="reflect"),
    ],
)
def test_a_layer_of_low_rank_is_factored_without_loss(layer: nn.Linear | nn.Conv1d | nn.Conv2d) -> None:
    torch.manual_seed(0)
    weight = layer.weight.detach().flatten(1)
    low = torch.randn(len(weight), 3) @ torch.randn(3, weight.shape[1])
    layer.weight.data = low.view_as(layer.weight)
    inputs = {2: (4, 12), 3: (4, 5, 11), 4: (4, 6, 13, 13)}[layer.weight.ndim]
    factored = Factored(layer, 3)
    factored.approximate(layer)
    samples = torch.randn(inputs)
    assert torch.allclose(factored(samples), layer(samples), atol=1e-4)
    fewer = Factored(layer, 2)
    fewer.approximate(layer)
    best = np.linalg.svd(low.numpy())[1][2]
    product = fewer.get_parameter("up.weight").flatten(1) @ fewer.get_parameter("down.weight").flatten(1)
    assert torch.linalg.matrix_norm(product - low).item() == pytest.approx(best, rel=1e-3)


def test_a_rank_that_gains_nothing_is_refused_before_training(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("comptroller_trainer.fit.loop.TrainingLoop.run")
    message = (
        r"compress.rank: 0.99 leaves no layer with fewer weights; at the least rank, the best has 0\.\d+"
    )
    with pytest.raises(AssignmentError, match=message):
        attempt(THIN | {"compress.rank": "0.99"})


@pytest.mark.parametrize("method", ["low_rank", "sparse"])
@pytest.mark.parametrize(
    "body",
    [
        Linear(Linear.Parameters()).build((1, 40), 4),
        Gru(GruParameters(width=8)).build((1, 40), 4),
    ],
    ids=["linear", "gru"],
)
def test_a_family_with_no_layer_for_it_is_refused(method: str, body: nn.Module, tmp_path: Path) -> None:
    model = Classifier(body, torch.zeros(1), torch.ones(1), (1, 40))
    context = Context(0, 1, 4, (1, 40), torch.device("cpu"), tmp_path)
    compressor = parse({"compress.method": method}).compressor
    with pytest.raises(AssignmentError, match=f"compress.method: '{method}' finds no layer"):
        compressor.check(model, context)


def test_channels_by_norms_are_refused_before_training_where_there_are_none(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("comptroller_trainer.fit.loop.TrainingLoop.run")
    with pytest.raises(AssignmentError, match="finds no batch norm"):
        attempt(SMALL | {
            "model.family": "mlp", "compress.method": "prune", "compress.importance": "bn_scale",
        })  # fmt: skip


@pytest.mark.parametrize("pattern", ["unstructured", "2:4"])
@pytest.mark.parametrize("family", ["mlp", "cnn", "dscnn", "resnet", "transformer"])
def test_zeros_are_shipped(attempt: Attempt, family: str, pattern: str) -> None:
    found = attempt(SPARSE | {"model.family": family, "compress.pattern": pattern}, epochs=1)
    named = [m for m in agrees(found).modules() if isinstance(m, nn.Linear | nn.Conv2d)][:-1]
    layers = [layer.weight for layer in named]
    if pattern == "2:4":
        layers = [w for w in layers if w.shape[1] % 4 == 0]
        for w in layers:
            fours = w.movedim(1, -1).unflatten(-1, (-1, 4))
            assert ((fours == 0).sum(-1) == 2).all()
    # No latency tells the two apart, and a bare mask is no gain.
    with pytest.raises(NoGainError, match="by the same graph") as missed:
        attempt(SPARSE | {"model.family": family, "compress.must": "faster"}, attempt=1, epochs=1)
    assert missed.value.report is not None
    assert missed.value.report.missed == str(missed.value)
    assert missed.value.report.metrics.keys() >= {"accuracy", "latency_p50_ms", "parent_accuracy"}
    zeros, count = sum(int((w == 0).sum()) for w in layers), sum(w.numel() for w in layers)
    assert zeros == round(count / 2)
    assert 0 < found.metrics["zero_share"] <= 0.5


@pytest.mark.parametrize("method", ["sparse+tune", "sparse+kd", "sparse+qat+int8_static", "low_rank+kd"])
def test_training_further_keeps_zeros_and_stops_and_goes_on_exactly(
    attempt: Attempt, weights: Weights, tmp_path: Path, method: str
) -> None:
    parameters = SPARSE | {"compress.method": method}
    if "sparse" in method:
        parameters |= {"compress.sparsity": "0.7"}
    whole = attempt(parameters, artifacts=f"file://{tmp_path}/whole")
    for number, stop_after in enumerate((3, 15)):
        with pytest.raises(Suspended):
            attempt(parameters, stop_after=stop_after, stop_in="compress", attempt=number)
    parts = attempt(parameters, attempt=2)
    ours, theirs = weights(whole), weights(parts)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    if "sparse" in method:
        inner = [w for w in ours.values() if w.ndim == 4 and w.numel() > 1]
        assert sum(int((w == 0).sum()) for w in inner) == round(0.7 * sum(w.numel() for w in inner))
        assert whole.metrics["zero_share"] > 0.6


def test_a_network_trained_further_is_not_what_was_masked(attempt: Attempt, weights: Weights) -> None:
    masked, tuned = (
        weights(attempt(SPARSE | {"compress.method": method}, attempt=number))
        for number, method in enumerate(["sparse", "sparse+tune"])
    )
    assert any(not torch.equal(masked[name], tuned[name]) for name in masked if "weight" in name)


def test_zeros_that_gain_nothing_are_refused_with_both_numbers(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a neighbour was in the parent's way when it was measured."""
    busy = iter([1.0, 5.0])
    monkeypatch.setattr(artifact, "served", lambda *_: latency(next(busy)))
    message = (
        r"compress.must: 'gain' is not met: artifact 1 ms, (\d+) bytes;"
        r" parent 5 ms, \1 bytes, by the same graph"
    )
    with pytest.raises(NoGainError, match=message):
        attempt(SPARSE | {"compress.must": "gain"}, epochs=1)


@pytest.mark.parametrize("method", ["low_rank", "sparse+tune+int8_static"])
def test_another_graph_may_be_faster(attempt: Attempt, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    milliseconds = iter([1.0, 5.0])
    monkeypatch.setattr(artifact, "served", lambda *_: latency(next(milliseconds)))
    assert attempt(SMALL | {"compress.method": method, "compress.must": "faster"}, epochs=1)


def test_another_share_than_the_patterns_is_refused() -> None:
    with pytest.raises(AssignmentError, match=r"compress.sparsity: '0.6' must be 0.5 with compress.pattern"):
        parse({"compress.method": "sparse", "compress.pattern": "2:4", "compress.sparsity": "0.6"})


@pytest.mark.parametrize("method", ["int8_dynamic", "int8_static"])
def test_the_zeros_of_a_quantized_graph_are_counted(tmp_path: Path, method: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 32)
    with torch.no_grad():
        layer.weight[:, 1::2] = 0
    context = Context(0, 1, 32, (64,), torch.device("cpu"), tmp_path)
    model = nn.Sequential(nn.Identity(), layer)
    compressor = parse({"compress.method": method}).compressor
    samples = Samples(torch.randn(64, 64), torch.zeros(64, dtype=torch.long))
    dataset = Dataset(samples, samples, 32, torch.arange(64))
    graph, _ = export(compressor.fit(model, dataset, context).model_, context)
    assert zero_share(graph) == 0.5
    assert 0.5 <= zero_share(compressor.finish(graph, context)) < 0.53


@pytest.mark.parametrize("family", ["mlp", "cnn", "dscnn", "resnet", "transformer"])
def test_what_training_rounded_to_is_what_int8_ships(attempt: Attempt, family: str) -> None:
    """And the statistics of the norms are folded in, which moves no weight to another number."""
    method = {"compress.method": "qat+int8_static", "compress.must": "anything"}
    found = attempt(SMALL | method | {"model.family": family}, epochs=1)
    model = rebuilt(
        json.loads(path(found, "architecture.json").read_text()),
        load_file(path(found, "model.safetensors")),
    )
    shipped = [
        onnx.numpy_helper.to_array(one)
        for one in onnx.load(path(found, "model.onnx")).graph.initializer
        if one.name.endswith("_quantized") and len(one.dims) > 1
    ]
    for _, layer in layers(model):
        with torch.no_grad():
            weight = layer.weight.flatten(1)
            rounded = FakeQuantized()(weight) / (weight.abs().amax(1, keepdim=True) / 64)
        wanted = rounded.round().view_as(layer.weight).numpy()
        same = [
            np.mean(wanted == kind)
            for held in shipped
            for kind in (held, held.T)
            if kind.shape == wanted.shape
        ]
        assert max(same) > 0.99


def test_a_gradient_goes_straight_through_rounding() -> None:
    layer = nn.Linear(8, 4)
    plain = torch.autograd.grad(layer.weight.square().sum() / 2, layer.weight)[0]
    through = torch.autograd.grad(FakeQuantized()(layer.weight).square().sum() / 2, layer.weight)[0]
    step = layer.weight.detach().abs().amax(1, keepdim=True) / 64
    inside = through != 0
    assert inside.float().mean() > 0.5
    assert ((through - plain).abs() <= 0.51 * step)[inside].all()


def test_only_training_is_rounded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 3))
    samples, seen = torch.linspace(-1, 1, 1000)[:, None], []

    def fine_tuned(model: nn.Module, *_: object) -> nn.Module:
        seen.append(model(samples))
        return model

    plain = model(samples)
    context = Context(0, 1, 3, (1,), torch.device("cpu"), tmp_path, fine_tune=fine_tuned)
    tuned = parse({"compress.method": "qat+int8_static"}).compressor
    dataset = Dataset(Samples(samples, torch.zeros(1000)), EMPTY, 3, torch.arange(1000))
    after = tuned.fit(model, dataset, context).model_
    assert len(seen[0].unique(dim=0)) <= 256 < len(plain.unique(dim=0))
    assert 0 < (seen[0] - plain).abs().max() < 0.05
    assert torch.equal(after(samples), plain)
