"""Conformance tests of selectors."""
# ruff: noqa: S101 - pytest's way to say what must hold

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.selection.base import Selection, Selector, SelectorParameters
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, TABLE

SHAPES = {IMAGE: (1, 8, 8), SEQUENCE: (1, 12), TABLE: (6,)}
"""Shapes of the samples that selectors are tried with."""
_SAMPLES, _CLASSES, _EPOCHS = 97, 3, 4


class SelectorConformance:
    """Tests of one selector. A subclass sets what is below."""

    selector: ClassVar[type[Selector[Any]]]
    parameters: ClassVar[SelectorParameters | None] = None
    """Parameters of the selector; None: the defaults."""
    repeats: ClassVar[bool] = False
    """True if an epoch may hold a sample more than once."""
    exact: ClassVar[bool] = True
    """True if the first epoch holds exactly `keep` of all samples (times `candidates`), false if at most."""
    seeded: ClassVar[bool] = True
    """True if another seed gives another selection."""

    def fitted(
        self, samples: Samples, seed: int = 0, classes: int = _CLASSES, **changes: Any
    ) -> Selector[Any]:
        """Return the selector, fitted to a training split of these samples."""
        given = self.parameters or self.selector.Parameters()
        typed = type(given)(**given.model_dump() | changes)
        context = Context(
            seed, _EPOCHS, classes, tuple(samples.inputs.shape[1:]), torch.device("cpu"), Path()
        )
        return self.selector(typed).fit(samples, context)

    def trained(self, selector: Selector[Any], epochs: range) -> list[Selection]:
        """Return the selections of some epochs, with observed losses as in training, some of them equal."""
        found = []
        for epoch in epochs:
            found.append(selector.select(epoch))
            for index in torch.split(found[-1].indices, 16):
                selector.observe(index, (index * 7 % 13).float() / (1 + epoch))
        return found

    def test_a_selection_is_places_in_the_training_split(self) -> None:
        for shape in SHAPES.values():
            selector = self.fitted(samples(shape))
            for epoch, found in enumerate(self.trained(selector, range(_EPOCHS))):
                indices, weights = found.indices, found.weights
                assert indices.dtype == torch.int64
                assert indices.ndim == 1
                assert len(indices) > 0
                assert 0 <= int(indices.min()) <= int(indices.max()) < _SAMPLES
                if not self.repeats:
                    assert len(torch.unique(indices)) == len(indices)
                if weights is not None:
                    assert weights.shape == indices.shape
                    assert weights.dtype == torch.float32
                    assert bool((weights.isfinite() & (weights >= 0)).all())
                if epoch == 0:
                    wanted = selector.parameters.count(_SAMPLES) * selector.candidates
                    assert len(indices) == wanted or (not self.exact and len(indices) < wanted)

    def test_the_same_seed_gives_the_same_and_another_seed_another(self) -> None:
        split = samples(SHAPES[TABLE])
        one, two, other = (self.fitted(split, seed) for seed in (0, 0, 1))
        assert _same(self.trained(one, range(_EPOCHS)), self.trained(two, range(_EPOCHS)))
        if self.seeded:
            found = self.trained(self.fitted(split), range(_EPOCHS))
            assert not _same(found, self.trained(other, range(_EPOCHS)))

    def test_epochs_differ_where_it_says_so(self) -> None:
        selector = self.fitted(samples(SHAPES[TABLE]))
        found = self.trained(selector, range(_EPOCHS))
        assert selector.varies or _same(found[:1] * _EPOCHS, found)

    def test_asking_twice_changes_nothing(self) -> None:
        selector = self.fitted(samples(SHAPES[TABLE]))
        self.trained(selector, range(1))
        assert _same([selector.select(1)], [selector.select(1)])

    def test_a_resumed_selector_goes_on_as_one_that_never_stopped(self) -> None:
        split = samples(SHAPES[TABLE])
        whole = self.fitted(split)
        self.trained(whole, range(2))
        whole.observe(torch.arange(5), torch.arange(5.0))
        state = {name: value.clone() for name, value in whole.state_dict().items()}
        resumed = self.fitted(split)
        resumed.load_state_dict(state)
        whole_on, resumed_on = (self.trained(s, range(2, _EPOCHS)) for s in (whole, resumed))
        assert _same(whole_on, resumed_on)
        index, losses = torch.arange(20) * 3, torch.arange(20) % 7 / 3
        assert torch.equal(whole.pick(index, losses, 6), resumed.pick(index, losses, 6))

    def test_only_one_that_watches_depends_on_what_it_observed(self) -> None:
        observer, other = (self.fitted(samples(SHAPES[TABLE])) for _ in range(2))
        found = self.trained(observer, range(_EPOCHS))
        assert observer.watches or _same(found, [other.select(epoch) for epoch in range(_EPOCHS)])

    def test_a_pick_is_a_batch_of_the_candidates(self) -> None:
        selector = self.fitted(samples(SHAPES[TABLE]))
        assert selector.candidates >= 1
        found = selector.pick(torch.arange(40), torch.arange(40).float().sin(), 10)
        assert found.shape == (10,)
        assert len(torch.unique(found)) == 10  # noqa: PLR2004 - as many as requested
        assert 0 <= int(found.min()) <= int(found.max()) < 40  # noqa: PLR2004 - as many as offered

    def test_scores_and_cost_are_reported(self) -> None:
        selector = self.fitted(samples(SHAPES[TABLE]))
        assert selector.cost_seconds_ >= 0
        if selector.scores_ is not None:
            assert selector.scores_.shape == (_SAMPLES,)
            assert selector.scores_.dtype == torch.float32
            assert not bool(selector.scores_.isnan().any())
            assert selector.cost_seconds_ > 0

    def test_regression_is_taken_or_refused(self) -> None:
        split = samples(SHAPES[TABLE])
        numbers = Samples(split.inputs, split.inputs[:, 0] * 2 + 1)
        if self.selector.classifies:
            try:
                self.fitted(numbers, classes=0)
            except AssignmentError as error:
                assert error.field == "data.selector"  # noqa: PT017 - the suite does not need pytest
            else:
                raise AssertionError("regression was neither taken nor refused")
        else:
            assert len(self.trained(self.fitted(numbers, classes=0), range(_EPOCHS))[-1].indices) > 0

    def test_a_class_may_have_no_sample(self) -> None:
        found = self.trained(self.fitted(samples(SHAPES[TABLE]), classes=_CLASSES + 2), range(_EPOCHS))
        assert all(len(selection.indices) for selection in found)

    def test_one_sample_at_least_is_kept(self) -> None:
        if self.selector.name == "all":
            return
        tiny = self.fitted(samples(SHAPES[TABLE]), keep=1e-9)
        assert len(tiny.select(0).indices) == max(1, tiny.candidates) or not self.exact

    def test_a_handful_of_samples_is_enough(self) -> None:
        for size in (1, 2, 5):
            split = samples(SHAPES[TABLE]).take(torch.arange(size))
            found = self.trained(self.fitted(split), range(_EPOCHS))
            assert all(len(selection.indices) > 0 for selection in found)


def samples(shape: tuple[int, ...], count: int = _SAMPLES) -> Samples:
    """Return noise, shifted by class: bytes for images, else numbers."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % _CLASSES
    values = torch.rand(count, *shape, generator=generator) + labels.view(-1, *[1] * len(shape)) * 0.2
    inputs = (values / values.max() * 255).to(torch.uint8) if len(shape) == IMAGE else values
    return Samples(inputs, labels)


def _same(one: list[Selection], other: list[Selection]) -> bool:
    def equal(a: Tensor | None, b: Tensor | None) -> bool:
        return a is b or (a is not None and b is not None and torch.equal(a, b))

    return len(one) == len(other) and all(
        equal(a.indices, b.indices) and equal(a.weights, b.weights) for a, b in zip(one, other, strict=True)
    )
