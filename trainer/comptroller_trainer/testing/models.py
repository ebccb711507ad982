"""Conformance tests of model families."""
# ruff: noqa: S101 - pytest's way to say what must hold

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.export.onnx import check_parity, export
from comptroller_trainer.export.weights import save_weights
from comptroller_trainer.models.base import Classifier, EstimatorFamily, Family
from comptroller_trainer.models.linear import Linear
from comptroller_trainer.models.profile import profile
from comptroller_trainer.models.rescale import Rescale
from comptroller_trainer.stages.base import Context, Parameters
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, TABLE

SHAPES = {IMAGE: (2, 12, 12), SEQUENCE: (2, 20), TABLE: (6,)}
"""Shapes of the samples that families are tried with."""
_SAMPLES, _CLASSES = 96, 3


class FamilyConformance:
    """Tests of one family. A subclass sets what is below."""

    family: ClassVar[type[Family[Any]]]
    parameters: ClassVar[Parameters | None] = None
    """Parameters of a small model; None: the defaults."""
    larger: ClassVar[Parameters | None] = None
    """Parameters of a model with more weights; None: the family has one size."""
    kinds: ClassVar[tuple[int, ...]] = (IMAGE, SEQUENCE, TABLE)
    """Dimensions of the samples that the family takes."""

    def build(
        self, shape: tuple[int, ...], classes: int, path: Path, parameters: Parameters | None = None
    ) -> nn.Module:
        """Return a model as at the start of training; an estimator family is trained."""
        stage = self.family(parameters or self.parameters or self.family.Parameters())
        context = Context(0, 1, classes, shape, torch.device("cpu"), path)
        if isinstance(stage, EstimatorFamily):
            return stage.train(samples(shape, classes), None, 1.0, context)
        torch.manual_seed(0)
        return _around(stage.build(shape, context.outputs), shape)

    def cases(self) -> list[tuple[tuple[int, ...], int]]:
        """Return shapes and numbers of classes, 0 for regression."""
        return [(SHAPES[kind], classes) for kind in self.kinds for classes in (_CLASSES, 0)]

    def test_outputs_are_finite_numbers_of_the_promised_shape(self, tmp_path: Path) -> None:
        for shape, classes in self.cases():
            outputs = self.build(shape, classes, tmp_path)(samples(shape, classes).inputs)
            assert outputs.shape == (_SAMPLES, classes or 1)
            assert outputs.dtype == torch.float32
            assert bool(outputs.isfinite().all())

    def test_samples_it_cannot_take_are_refused_with_a_reason(self, tmp_path: Path) -> None:
        for kind in SHAPES.keys() - set(self.kinds):
            try:
                self.build(SHAPES[kind], _CLASSES, tmp_path)
            except AssignmentError as error:
                assert error.field.startswith("model.")  # noqa: PT017 - the suite does not need pytest
            else:
                raise AssertionError(f"samples of {SHAPES[kind]} were not refused")

    def test_the_same_seed_builds_the_same_weights(self, tmp_path: Path) -> None:
        for shape, classes in self.cases():
            one, two = (self.build(shape, classes, tmp_path).state_dict() for _ in range(2))
            assert one.keys() == two.keys()
            assert all(torch.equal(one[name], two[name]) for name in one)

    def test_every_trainable_weight_is_trained(self, tmp_path: Path) -> None:
        if issubclass(self.family, EstimatorFamily):
            return
        for shape, classes in self.cases():
            model, data = self.build(shape, classes, tmp_path), samples(shape, classes)
            trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
            before = {name: p.detach().clone() for name, p in trained.items()}
            for _ in range(3):  # what is multiplied by a zero moves once that has moved
                error = loss(model(data.inputs), data.labels)
                gradients = torch.autograd.grad(error, list(trained.values()), allow_unused=True)
                with torch.no_grad():
                    for p, gradient in zip(trained.values(), gradients, strict=True):
                        if gradient is not None:
                            p.sub_(gradient, alpha=0.05)
            stuck = [name for name in before if torch.equal(before[name], trained[name])]
            assert not stuck, f"{stuck} of {shape} never move"

    def test_a_sample_does_not_depend_on_its_batch(self, tmp_path: Path) -> None:
        for shape, classes in self.cases():
            model, inputs = self.build(shape, classes, tmp_path).eval(), samples(shape, classes).inputs
            with torch.no_grad():
                alone = torch.cat([model(part) for part in torch.split(inputs[:6], 1)])
                assert torch.allclose(model(inputs)[:6], alone, rtol=1e-3, atol=1e-5)

    def test_the_exported_graph_computes_the_same(self, tmp_path: Path) -> None:
        for shape, classes in self.cases():
            model = self.build(shape, classes, tmp_path)
            context = Context(0, 1, classes, shape, torch.device("cpu"), tmp_path)
            graph, _ = export(model, context)
            for size in (1, 7):
                check_parity(model, graph, samples(shape, classes).inputs[:size])

    def test_its_size_is_known_before_training_and_grows(self, tmp_path: Path) -> None:
        if not self.larger or issubclass(self.family, EstimatorFamily):
            return
        for shape, classes in self.cases():
            small = profile(self.build(shape, classes, tmp_path), shape)
            large = profile(self.build(shape, classes, tmp_path, self.larger), shape)
            assert 0 < small.parameters < large.parameters
            assert 0 < small.macs < large.macs
            assert 0 < small.activation_bytes <= large.activation_bytes


def left(directory: Path, shape: tuple[int, ...], classes: int) -> dict[str, str]:
    """Write two untrained models as trials do below `directory`; return their ensemble's parameters."""
    names = ("0/rungs/0", "1/rungs/0")
    for seed, name in enumerate(names):
        context = Context(0, 1, classes, shape, torch.device("cpu"), directory / name)
        context.directory.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        body = Linear(Linear.Parameters()).build(shape, context.outputs)
        body = body if classes else nn.Sequential(body, Rescale(torch.arange(2.0)))
        model = _around(body, shape)
        save_weights(model, "linear", {}, context)
    return {"model.source": directory.as_uri(), "model.members": "+".join(names)}


def untrained(family: Family[Any], shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return a trial's model as at the start of training, the same in each call."""
    torch.manual_seed(0)
    body = family.build(shape, classes or 1)
    if not classes:
        body = nn.Sequential(body, Rescale(samples(shape, classes).labels))
    return _around(body, shape)


def same_module(one: nn.Module, other: nn.Module) -> bool:
    """Return true if the modules have the same layers, weights, modes and trainable parameters."""
    ours, theirs = one.state_dict(), other.state_dict()
    modes = [[module.training for module in model.modules()] for model in (one, other)]
    trainable = [[p.requires_grad for p in model.parameters()] for model in (one, other)]
    return (
        str(one) == str(other)
        and modes[0] == modes[1]
        and trainable[0] == trainable[1]
        and ours.keys() == theirs.keys()
        and all(torch.equal(ours[name], theirs[name]) for name in ours)
    )


def _around(body: nn.Module, shape: tuple[int, ...]) -> Classifier:
    return Classifier(body, torch.full((shape[0],), 0.5), torch.ones(shape[0]), shape)


def samples(shape: tuple[int, ...], classes: int) -> Samples:
    """Return noise, whose first values decide the labels."""
    inputs = torch.rand(_SAMPLES, *shape, generator=torch.Generator().manual_seed(1))
    value = inputs.flatten(1)[:, :2].mean(1)
    labels = (value * classes).long().clamp(max=classes - 1) if classes else value
    return Samples(inputs, labels)


def loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of a training step."""
    if labels.is_floating_point():
        return functional.mse_loss(outputs.flatten(), labels)
    return functional.cross_entropy(outputs, labels)
