"""The loop does what a recipe requests, and ends exactly where it would have without a stop."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import Tensor, nn

from comptroller_trainer.data.samples import Dataset, Samples
from comptroller_trainer.errors import AssignmentError, Suspended
from comptroller_trainer.fit import TrainingLoop, prefetcher, progressive
from comptroller_trainer.fit.gradient_accumulation import GradientAccumulator
from comptroller_trainer.fit.gradient_checkpointing import (
    with_gradient_checkpointing,
    without_gradient_checkpointing,
)
from comptroller_trainer.learning.checkpoint import Checkpoints
from comptroller_trainer.learning.distributed import Peers
from comptroller_trainer.learning.training import Training
from comptroller_trainer.learning.trial_cache import TrialCache
from comptroller_trainer.models.backbone import Timm, TimmParameters
from comptroller_trainer.models.base import Classifier
from comptroller_trainer.models.layers import Residual
from comptroller_trainer.models.rescale import Rescale
from comptroller_trainer.recipe.parse import parse
from comptroller_trainer.runtime.progress import AttemptProgress
from comptroller_trainer.runtime.stop import StopSignal
from comptroller_trainer.selection.base import Selection, Selector, SelectorParameters
from comptroller_trainer.stages.base import Context
from comptroller_trainer.store import open_store
from support.trials import StopAfter

COUNT, SHAPE = 96, (1, 8, 8)
SIZE = {"model.width": "4", "model.depth": "2", "recipe.batch_size": "16"}


class Watcher(Selector[SelectorParameters]):
    """Picks the hardest half of each step's candidates, and in each epoch the samples it saw lose most."""

    varies = watches = True
    candidates = 2

    def fit(self, samples: Samples, context: Context) -> Self:
        del context
        self.seen = torch.zeros(len(samples))
        return self

    def select(self, epoch: int) -> Selection:
        del epoch
        order = self.seen.argsort(descending=True, stable=True)
        return Selection(order[:64].sort().values, torch.linspace(0.5, 1.5, 64))

    def pick(self, index: Tensor, losses: Tensor, count: int) -> Tensor:
        del index
        return losses.argsort(descending=True, stable=True)[:count]

    def observe(self, index: Tensor, losses: Tensor) -> None:
        self.seen[index] = losses

    def state_dict(self) -> dict[str, Tensor]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.seen = state["seen"].clone()


def data(classes: int = 3, shape: tuple[int, ...] = SHAPE) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(COUNT + 48) % 3
    inputs = torch.randn(COUNT + 48, *shape, generator=generator) + labels.view(-1, *[1] * len(shape))
    targets = labels if classes else 1000.0 + 50 * labels.float()
    train, held = Samples(inputs[:COUNT], targets[:COUNT]), Samples(inputs[COUNT:], targets[COUNT:])
    return Dataset(train, held, classes, torch.arange(COUNT))


class Trained:
    """One fit in this process; called again, it resumes what is in its directory."""

    def __init__(self, directory: Path, progress: AttemptProgress) -> None:
        self.directory, self.progress = directory, progress

    def __call__(
        self, parameters: dict[str, str] | None = None, *, classes: int = 3, stop_after: int | None = None,
        selector: Selector[Any] | None = None, epochs: int = 2, place: str = "trial", shape: Any = SHAPE,
    ) -> tuple[TrainingLoop, nn.Module]:  # fmt: skip
        dataset = data(classes, shape)
        store = open_store(f"file://{self.directory}/{place}")
        context = Context(
            5,
            2,
            classes,
            shape,
            torch.device("cpu"),
            self.directory,
            TrialCache(store, "f" * 16, Peers(), StopSignal()),
        )
        recipe = parse(SIZE | (parameters or {}))
        if selector is not None:
            recipe = dataclasses.replace(recipe, selector=selector)
        recipe.selector.fit(dataset.train, context)
        recipe.augmentation.fit(dataset.train, context)
        torch.manual_seed(1)
        body = recipe.family.build(shape, context.outputs)
        if not classes:
            body = nn.Sequential(body, Rescale(dataset.train.labels))
        model = Classifier(body, *dataset.moments(), shape)
        self.progress.step = 0
        stop = StopSignal() if stop_after is None else StopAfter(self.progress, stop_after)
        fit = TrainingLoop(model, dataset, recipe, context, Checkpoints(store, "f", 0), stop, self.progress)
        return fit, fit.run(epochs)

    def weights(self, parameters: dict[str, str] | None = None, **options: Any) -> dict[str, Tensor]:
        fit, model = self(parameters, **options)
        return {k: v.clone() for k, v in model.state_dict().items()} | {
            "loss": torch.tensor([entry["loss"] for entry in fit.state.history])
        }


@pytest.fixture
def trained(tmp_path: Path, progress: AttemptProgress) -> Trained:
    return Trained(tmp_path, progress)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


RESUMED: dict[str, dict[str, str]] = {
    "muon, ema, plateau": {
        "recipe.optimizer": "muon", "recipe.ema": "0.9", "recipe.schedule": "plateau",
        "recipe.plateau_patience": "1",
    },
    "rmsprop, clip, l1, micro": {
        "recipe.optimizer": "rmsprop", "recipe.lr": "0.001", "recipe.clip_norm": "1", "recipe.l1": "0.001",
        "recipe.microbatch": "5",
    },
    "mixing, focal": {"augment.policy": "mixup", "recipe.loss": "focal", "recipe.label_smoothing": "0.1"},
    "progressive": {
        "recipe.resolution_start": "0.5", "recipe.batch_start": "0.5", "recipe.subset_start": "0.5",
    },
    "depth": {
        "model.family": "resnet", "model.width": "2", "model.depth": "3", "recipe.depth_start": "0.3",
        "recipe.ema": "0.9",
    },
    "fp16": {"recipe.precision": "fp16", "model.family": "mlp"},
    "gradient_checkpointing": {"recipe.gradient_checkpointing": "true", "model.dropout": "0.3"},
}  # fmt: skip


@pytest.mark.parametrize("name", RESUMED)
def test_a_resume_is_exact(trained: Trained, name: str) -> None:
    whole = trained.weights(RESUMED[name], place="whole")
    for stop_after in (3, 8):
        with pytest.raises(Suspended):
            trained(RESUMED[name], stop_after=stop_after)
    assert same(whole, trained.weights(RESUMED[name]))


def test_a_watching_selector_resumes_exactly_in_the_middle_of_an_epoch(trained: Trained) -> None:
    params = SelectorParameters()
    whole = trained.weights(selector=Watcher(params), place="whole")
    for stop_after in (1, 3):
        with pytest.raises(Suspended):
            trained(selector=Watcher(params), stop_after=stop_after)
    assert same(whole, trained.weights(selector=Watcher(params)))
    kept = [open_store(f"file://{trained.directory}/{place}") for place in ("whole", "trial")]
    records = [[s.get(key) for key in s.list("remembered/")] for s in kept]
    assert records[0] == records[1]
    assert len(records[0]) == 2


def test_a_store_that_is_away_at_an_epochs_end_gets_its_record_later(trained: Trained) -> None:
    in_the_way = trained.directory / "trial" / "remembered"
    in_the_way.parent.mkdir()
    in_the_way.touch()

    class Clearing(Watcher):
        """In the second epoch, the store is back."""

        def select(self, epoch: int) -> Selection:
            if epoch == 1:
                in_the_way.unlink()
            return super().select(epoch)

    trained(selector=Clearing(SelectorParameters()))
    assert len(open_store(f"file://{trained.directory}/trial").list("remembered/")) == 2


def test_recomputing_changes_no_weight_and_counts_no_batch_twice(trained: Trained) -> None:
    plain = trained.weights({"model.dropout": "0.3"}, place="plain")
    assert same(plain, trained.weights({"model.dropout": "0.3", "recipe.gradient_checkpointing": "true"}))


def test_a_timm_transformer_is_recomputed_and_then_is_itself_again() -> None:
    body = Timm(TimmParameters(name="test_vit", resolution=32)).build((3, 32, 32), 4)
    inputs = torch.rand(4, 3, 32, 32)

    def gradients(model: nn.Module) -> dict[str, Tensor]:
        model.zero_grad()
        model(inputs).square().sum().backward()
        return {name: p.grad.clone() for name, p in body.named_parameters() if p.grad is not None}

    plain, whole = gradients(body), nn.Sequential(body, nn.Identity())
    network = body.get_submodule("network")
    assert same(plain, gradients(with_gradient_checkpointing(whole)))
    assert network.grad_checkpointing
    without_gradient_checkpointing(whole)
    assert not network.grad_checkpointing


def test_what_cannot_be_recomputed_is_refused() -> None:
    with pytest.raises(AssignmentError, match="needs a model whose blocks are in sequence"):
        with_gradient_checkpointing(nn.Linear(2, 2))
    normed = Timm(TimmParameters(name="test_resnet")).build((3, 32, 32), 4)
    with pytest.raises(AssignmentError, match="norms count each batch twice"):
        with_gradient_checkpointing(nn.Sequential(normed, nn.Identity()))


def test_accumulation_keeps_the_effective_batch(trained: Trained) -> None:
    # Without norms, whose statistics are of what is in memory at once.
    plain = trained.weights({"model.family": "mlp"}, place="plain")
    parts = trained.weights({"model.family": "mlp", "recipe.microbatch": "3"})
    assert all(torch.allclose(plain[name], parts[name], atol=1e-4) for name in plain)


@contextmanager
def memory_for(samples: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    sizes: list[int] = []
    forward = Classifier.forward

    def limited(self: Classifier, inputs: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            sizes.append(len(inputs))
            if len(inputs) > samples:
                forward(self, inputs)  # what a norm saw before memory ran out must not stay
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return forward(self, inputs)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "forward", limited)
        yield sizes


def test_out_of_memory_halves_what_is_in_memory_and_nothing_else(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = trained.weights({"recipe.microbatch": "4"}, place="wanted")
    with memory_for(5, monkeypatch) as sizes:
        fit, _ = trained()
        assert fit.microbatch == 4
        assert sizes[:3] == [16, 8, 4]
        assert max(sizes[3:]) == 4
        found = trained.weights()
    assert same(wanted, found)


def test_a_sample_that_does_not_fit_is_an_error(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    with memory_for(0, monkeypatch), pytest.raises(torch.OutOfMemoryError):
        trained({"model.family": "mlp"})


def test_a_regression_learns_in_the_targets_units(trained: Trained) -> None:
    for loss in ("mse", "huber"):
        fit, model = trained({"recipe.loss": loss, "recipe.lr": "0.1"}, classes=0, place=loss)
        assert fit.state.history[-1]["rmse"] < 35  # a deviation is 41
        held = data(0).validation
        assert model(held.inputs).mean().item() == pytest.approx(1050, abs=30)


def test_a_resolution_needs_a_model_that_takes_any(trained: Trained) -> None:
    with pytest.raises(AssignmentError, match=r"'0.5' needs a model that takes images of any size"):
        trained({"recipe.resolution_start": "0.5", "model.family": "mlp"})


def test_the_average_is_what_is_shipped_and_validated(trained: Trained) -> None:
    plain = trained.weights(place="plain")
    averaged = trained.weights({"recipe.ema": "0.9"})
    assert not same(plain, averaged)
    kept = Checkpoints(open_store(f"file://{trained.directory}/trial"), "f", 0).newest()
    assert kept is not None
    assert torch.equal(kept.tensors["average/body.0.weight"], averaged["body.0.weight"])
    assert torch.equal(kept.tensors["model/body.0.weight"], plain["body.0.weight"])


def test_a_plateau_lowers_the_rate(trained: Trained) -> None:
    fit, _ = trained(
        {"recipe.lr": "1e-30", "recipe.schedule": "plateau", "recipe.plateau_patience": "1"}, epochs=2
    )
    assert fit.state.dropped == 1
    assert fit._early_stopping.factor == pytest.approx(0.3)


def test_no_epoch_begins_that_would_pass_the_limit(trained: Trained) -> None:
    fit, _ = trained({"recipe.max_seconds": "1e-6"})
    assert (fit.state.epoch, fit.state.stopped) == (1, "recipe.max_seconds")


def test_images_grow_to_their_own_size() -> None:
    sides = [progressive.image_side(28, 0.5, step / 20) for step in range(21)]
    assert sides == sorted(sides)
    assert (sides[0], sides[-1]) == (16, 28)
    assert sides[15:] == [28] * 6
    assert progressive.resized(torch.ones(2, 1, 28, 24), 0.5, 0.0).shape == (2, 1, 16, 12)


def test_the_subset_and_the_batch_grow(trained: Trained) -> None:
    assert [progressive.share_at(0.5, epoch, 3) for epoch in range(3)] == [0.5, 0.75, 1.0]
    fit, _ = trained({"recipe.subset_start": "0.5"}, place="subset")
    assert fit.state.steps == 3 + 6
    fit, _ = trained({"recipe.batch_start": "0.5"}, place="batch")
    assert fit.state.steps == 12 + 6


def test_blocks_join_from_the_front_and_a_rung_ships_those_that_have() -> None:
    body = parse({"model.family": "transformer", "model.depth": "5"}).family.build((1, 8, 8), 3)
    assert isinstance(body, nn.Sequential)
    shown = []
    for epoch in range(4):
        progressive.skip_later_blocks(body, 0.2, epoch, 4)
        shown.append([not layer.skipped for layer in body if isinstance(layer, Residual)])
    assert [sum(blocks) for blocks in shown] == [1, 3, 4, 5]
    assert all(blocks == sorted(blocks, reverse=True) for blocks in shown)
    progressive.skip_later_blocks(body, 0.2, 0, 4)
    inputs = torch.randn(2, 1, 8, 8)
    first = body.eval()(inputs)
    later = body[2:6].requires_grad_(requires_grad=False)
    for parameter in later.parameters():
        parameter.zero_()
    assert torch.equal(body(inputs), first)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"model.family": "cnn"}, "needs a model with two residual blocks"),
        (
            {"model.family": "resnet", "model.depth": "3", "recipe.patience": "2"},
            "contradicts recipe.patience",
        ),
    ],
)
def test_a_depth_that_cannot_grow_is_refused(
    trained: Trained, parameters: dict[str, str], expected: str
) -> None:
    with pytest.raises(AssignmentError, match=expected):
        trained(parameters | {"recipe.depth_start": "0.5"})


def test_batches_gathered_ahead_are_the_same_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = data().train
    indices = [torch.randperm(COUNT)[:8] for _ in range(9)]
    plain = list(prefetcher.Prefetcher(samples, torch.device("cpu")).batches(indices))
    monkeypatch.setattr(prefetcher, "_LARGE", 0)
    ahead = list(prefetcher.Prefetcher(samples, torch.device("cpu")).batches(indices))
    assert len(plain) == len(ahead) == 9
    for (x, y), (a, b) in zip(plain, ahead, strict=True):
        assert torch.equal(x, a)
        assert torch.equal(y, b)


def test_a_compiler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    context = Context(0, 1, 2, (4,), torch.device("cpu"), Path())
    with pytest.raises(AssignmentError, match=r"recipe.compile: 'true' needs a C\+\+ compiler"):
        GradientAccumulator(nn.Linear(4, 2), lambda a, _: a.sum(1), Training(compile=True), context, Peers())
