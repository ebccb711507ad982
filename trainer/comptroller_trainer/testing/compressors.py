"""Conformance tests of compressors."""
# ruff: noqa: S101 - pytest's way to say what must hold

import copy
import math
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, get_args

import onnx
import torch
from torch import Tensor, nn

from comptroller_api.trainer import Place
from comptroller_trainer.compression.base import Compressor, is_own
from comptroller_trainer.data.samples import Dataset, Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.export.onnx import check_parity, computed, export
from comptroller_trainer.fit.fine_tuning import FineTuning
from comptroller_trainer.measure.gain import Must
from comptroller_trainer.measure.session import open_session
from comptroller_trainer.meter import Meter
from comptroller_trainer.models.adapters import merge
from comptroller_trainer.models.base import Family
from comptroller_trainer.models.convolutional import Cnn, ConvolutionalParameters
from comptroller_trainer.models.linear import Linear
from comptroller_trainer.models.mlp import Mlp, MlpParameters
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.runtime.progress import AttemptProgress
from comptroller_trainer.runtime.stage_timer import StageTimer
from comptroller_trainer.runtime.stop import StopSignal
from comptroller_trainer.stages.base import Context, Parameters
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, TABLE
from comptroller_trainer.stages.soft_targets import SoftTargets
from comptroller_trainer.store import open_store
from comptroller_trainer.testing.models import SHAPES, same_module, samples, untrained

_CLASSES = 3
_SIZES = (1, 7)
"""Sizes of the batches that models and graphs are tried with."""
_CNN = Cnn(ConvolutionalParameters(width=16, depth=2))
_LINEAR = Linear(Linear.Parameters())
_RECIPE = {"model.family": "mlp", "recipe.batch_size": "32"}
"""The recipe of fine-tuning."""


class Compressed(NamedTuple):
    """The result of a fit."""

    compressor: Compressor[Any]
    module: nn.Module
    """The module to export, with masks and adapters merged into its weights."""
    dataset: Dataset
    context: Context
    tuned: bool
    """True if the compressor fine-tuned the model."""


class Shipped(NamedTuple):
    """The result of a fit, as files."""

    compressed: Compressed
    graph: Path
    """The export of the module."""
    content: bytes
    """The content of `graph` before `finish`."""
    finished: Path
    """The file to ship."""

    def outputs(self, size: int) -> Tensor:
        """Return the shipped graph's outputs for a batch of `size` training samples."""
        return computed(self.finished, self.compressed.dataset.train.inputs[:size])


class CompressorConformance:
    """Tests of one compressor. A subclass sets what is below."""

    compressor: ClassVar[type[Compressor[Any]]]
    parameters: ClassVar[Parameters | None] = None
    """Parameters of the compressor; None: the defaults."""
    families: ClassVar[Mapping[int, Family[Any]]] = {
        IMAGE: _CNN, SEQUENCE: _CNN, TABLE: Mlp(MlpParameters(width=16, depth=2)),
    }  # fmt: skip
    """The family of the compressed models, for each kind of samples; the compressor accepts these models."""

    def stage(self) -> Compressor[Any]:
        """Return the compressor before its fit."""
        return self.compressor(self.parameters or self.compressor.Parameters())

    def cases(self) -> list[tuple[tuple[int, ...], int]]:
        """Return shapes and numbers of classes, 0 for regression."""
        shapes = [SHAPES[kind] for kind in self.compressor.kinds]
        return [(shape, _CLASSES) for shape in shapes] + [(shapes[0], 0)] * (not self.compressor.classifies)

    def build(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """Return the same untrained model in each call."""
        return untrained(self.families[len(shape)], shape, classes)

    def compress(
        self,
        model: nn.Module,
        dataset: Dataset,
        directory: Path,
        *,
        parent: nn.Module | None = None,
        readable: Samples | None = None,
    ) -> Compressed:
        """Return the result of a fit to `model`, which may be changed.

        Args:
            model: in the state in which training leaves it.
            dataset: given to the fit.
            directory: for files of the fit, which get a new directory in `directory`.
            parent: the compressor's `parent_`; None: set only if the compressor needs one.
            readable: the validation split for fine-tuning; None: the data set's.
        """
        scratch = Path(tempfile.mkdtemp(dir=directory))
        context = Context(0, 1, dataset.classes, dataset.shape, torch.device("cpu"), scratch)
        recipe, meter, tuned = parse(_RECIPE), Meter(1.0), []
        recipe.selector.fit(dataset.train, context)
        timer = StageTimer(AttemptProgress("conformance", 0.0, 300, meter), StopSignal())
        loop = FineTuning(
            recipe, context, open_store(f"file://{scratch}/store"), "conformance", (0, 0), timer
        )

        def fine_tune(
            model: nn.Module, given: Dataset, epochs: int, rate: float, soft: SoftTargets | None
        ) -> nn.Module:
            tuned.append(epochs)
            return loop(model, replace(given, validation=readable or given.validation), epochs, rate, soft)

        # A resumed attempt has drawn other numbers before: each fit begins with another global generator.
        torch.manual_seed(len(list(directory.iterdir())))
        compressor = self.stage()
        if parent is not None or compressor.needs_parent:
            compressor.parent_ = parent or copy.deepcopy(model)
        try:
            compressor.fit(model.eval(), dataset, replace(context, fine_tune=fine_tune))
        finally:
            meter.close()
        return Compressed(compressor, merge(compressor.model_), dataset, context, bool(tuned))

    def compressed(
        self, shape: tuple[int, ...], classes: int, directory: Path, labels: Tensor | None = None
    ) -> Compressed:
        """Return a compressed model of samples of `shape`, with their own labels or these."""
        return self.compress(self.build(shape, classes), dataset_of(shape, classes, labels), directory)

    def shipped(
        self, shape: tuple[int, ...], classes: int, directory: Path, labels: Tensor | None = None
    ) -> Shipped:
        """Return a compressed model as files."""
        compressed = self.compressed(shape, classes, directory, labels)
        graph, _ = export(compressed.module, compressed.context)
        content = graph.read_bytes()
        return Shipped(compressed, graph, content, compressed.compressor.finish(graph, compressed.context))

    def test_the_check_accepts_the_models_and_changes_nothing(self, tmp_path: Path) -> None:
        for shape, classes in self.cases():
            model, context = self.build(shape, classes), context_of(shape, classes, tmp_path)
            before = copy.deepcopy(model)
            self.stage().check(model, context)
            assert same_module(model, before), f"the check has changed the model of {shape}"

    def test_a_model_is_refused_by_the_check_or_compressed(self, tmp_path: Path) -> None:
        for shape, classes in self.cases():
            model = untrained(_LINEAR, shape, classes)
            try:
                self.stage().check(model, context_of(shape, classes, tmp_path))
            except AssignmentError as error:
                assert error.field.startswith("compress.")  # noqa: PT017 - the suite does not need pytest
                continue
            found = self.compress(model, dataset_of(shape, classes), tmp_path)
            export(found.module, found.context)

    def test_the_fit_reads_the_training_split_only(self, tmp_path: Path) -> None:
        for shape, classes in self.cases():
            dataset = dataset_of(shape, classes)
            closed, train = replace(dataset, validation=ClosedSplit()), dataset.train
            inputs, labels = train.inputs.clone(), train.labels.clone()
            self.compress(self.build(shape, classes), closed, tmp_path, readable=dataset.validation)
            assert torch.equal(train.inputs, inputs), "the fit has written to the inputs"
            assert torch.equal(train.labels, labels), "the fit has written to the labels"

    def test_labels_are_read_only_where_it_says_so(self, tmp_path: Path) -> None:
        stage = self.stage()
        assert not stage.labelled or stage.labelled in type(stage.parameters).model_fields
        if stage.labelled:
            return
        for shape, classes in self.cases():
            found = self.shipped(shape, classes, tmp_path)
            if found.compressed.tuned:  # fine-tuning is the trainer's and reads them
                return
            labels = dataset_of(shape, classes).train.labels.flip(0)
            assert _same(found, self.shipped(shape, classes, tmp_path, labels)), "other labels, another model"

    def test_the_parent_is_not_changed(self, tmp_path: Path) -> None:
        for shape, classes in self.cases():
            model, dataset = self.build(shape, classes).eval(), dataset_of(shape, classes)
            parent, before = copy.deepcopy(model), copy.deepcopy(model)
            found = self.compress(model, dataset, tmp_path, parent=parent)
            assert same_module(parent, before), "the fit has changed the parent"
            assert found.module is not parent, "the fit has returned the parent"

    def test_the_compressed_model_takes_and_gives_the_same_in_eval_mode(self, tmp_path: Path) -> None:
        for shape, classes in self.cases():
            found = self.compressed(shape, classes, tmp_path)
            training = [name for name, part in found.module.named_modules() if part.training]
            assert not training, f"in training mode: {training}"
            for size in _SIZES:
                with torch.no_grad():
                    outputs = found.module(found.dataset.train.inputs[:size])
                assert outputs.dtype == torch.float32
                _check_outputs(outputs, size, classes)

    def test_the_same_seed_gives_the_same(self, tmp_path: Path) -> None:
        for shape, classes in self.cases():
            one = self.shipped(shape, classes, tmp_path)
            assert _same(one, self.shipped(shape, classes, tmp_path)), "the same seed, another model"

    def test_the_finished_graph_takes_and_gives_the_same(self, tmp_path: Path) -> None:
        for shape, classes in self.cases():
            found = self.shipped(shape, classes, tmp_path)
            assert found.graph.read_bytes() == found.content, "finish has changed the file that it was given"
            directory = found.compressed.context.directory
            assert found.finished.is_relative_to(directory), f"{found.finished} is not in {directory}"
            onnx.checker.check_model(found.finished)
            ours, given = _signature(found.finished), _signature(found.graph)
            assert ours == given, f"takes and gives {ours}, before {given}"
            for size in _SIZES:
                _check_outputs(found.outputs(size), size, classes)

    def test_the_graph_computes_what_the_module_does_unless_it_says_otherwise(self, tmp_path: Path) -> None:
        if self.stage().changes_graph:
            return
        for shape, classes in self.cases():
            found = self.shipped(shape, classes, tmp_path)
            for size in _SIZES:
                inputs = found.compressed.dataset.train.inputs[:size]
                check_parity(found.compressed.module, found.finished, inputs)

    def test_its_metrics_are_its_own_and_finite_numbers(self, tmp_path: Path) -> None:
        for shape, classes in self.cases():
            found = self.shipped(shape, classes, tmp_path)
            compressor = found.compressed.compressor
            declared = {row.name for row in compressor.measured if is_own(row)}
            for name, value in compressor.metrics(found.finished).items():
                assert name in declared, (
                    f"{name} is not in measured, or another part of the trainer measures it"
                )
                assert isinstance(value, float), f"{name} is {value!r}"
                assert math.isfinite(value), f"{name} is {value!r}"

    def test_channels_are_removed_where_it_says_so(self, tmp_path: Path) -> None:
        for shape, classes in self.cases():
            before = _channels(self.build(shape, classes))
            after = _channels(self.compressed(shape, classes, tmp_path).module)
            kept = all(after[name] == count for name, count in before.items() if name in after)
            assert kept or self.compressor.channels, "channels are gone, and channels is false"
            assert not kept or not self.compressor.channels, "no channels are gone, and channels is true"

    def test_its_declarations_agree(self) -> None:
        kind, stage = self.compressor, self.stage()
        assert kind.kinds
        assert set(kind.kinds) <= SHAPES.keys()
        assert kind.place in get_args(Place)
        assert kind.place == "parts" or not kind.channels, "only parts can be channels"
        assert kind.place in {"parts", "training"} or not kind.wants, "nothing can follow"
        assert kind.place != "alone" or not kind.needs_parent, "a compressor that is alone gets no parent"
        assert stage.must in get_args(Must)


class ClosedSplit(Samples):
    """A split that cannot be read."""

    def __init__(self) -> None:
        """Hold nothing."""

    def __getattribute__(self, name: str) -> Any:
        """Refuse to return a field of the samples."""
        assert name not in {"inputs", "labels"}, "the fit has read a split that is not for training"
        return super().__getattribute__(name)


def context_of(shape: tuple[int, ...], classes: int, directory: Path) -> Context:
    """Return a trial of samples of `shape`."""
    return Context(0, 1, classes, shape, torch.device("cpu"), directory)


def dataset_of(shape: tuple[int, ...], classes: int, labels: Tensor | None = None) -> Dataset:
    """Return noise as a data set: two thirds for training, with their own labels or these."""
    every = samples(shape, classes)
    count = len(every) * 2 // 3
    train = every.take(torch.arange(count))
    if labels is not None:
        train = Samples(train.inputs, labels)
    return Dataset(train, every.take(torch.arange(count, len(every))), classes, torch.arange(count))


def _check_outputs(outputs: Tensor, size: int, classes: int) -> None:
    shape = tuple(outputs.shape)
    assert shape == (size, classes or 1), f"gives {shape} for {size} samples and {classes} classes"
    assert bool(outputs.isfinite().all()), "gives outputs that are not finite"


def _same(one: Shipped, other: Shipped) -> bool:
    size = len(one.compressed.dataset.train)
    return same_module(one.compressed.module, other.compressed.module) and torch.equal(
        one.outputs(size), other.outputs(size)
    )


def _signature(graph: Path) -> list[tuple[str, str, list[int]]]:
    """Return the name, the type and the shape without the batch of each input and output."""
    session = open_session(graph, "CPU", 1)
    both = [*session.get_inputs(), *session.get_outputs()]
    return [(value.name, value.type, value.shape[1:]) for value in both]


def _channels(model: nn.Module) -> dict[str, int]:
    """Return the number of outputs of each linear layer and convolution."""
    kinds = nn.Linear | nn.Conv1d | nn.Conv2d
    return {name: len(layer.weight) for name, layer in model.named_modules() if isinstance(layer, kinds)}
