"""Conformance tests of augmentation policies."""
# ruff: noqa: S101 - pytest's way to say what must hold

import json
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from comptroller_trainer.augment.base import Augmentation, TrainingBatch
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.stages.base import Context, Parameters
from comptroller_trainer.stages.modality import IMAGE, SEQUENCE, TABLE

SHAPES = {IMAGE: (3, 12, 10), SEQUENCE: (2, 20), TABLE: (6,)}
"""Shapes of the samples that policies are tried with."""
_SAMPLES, _CLASSES = 64, 3


class AugmentationConformance:
    """Tests of one policy. A subclass sets what is below."""

    policy: ClassVar[type[Augmentation[Any]]]
    parameters: ClassVar[Parameters | None] = None
    """Parameters of the policy; None: the defaults."""
    kinds: ClassVar[tuple[int, ...]] = (IMAGE, SEQUENCE, TABLE)
    """Dimensions of the samples that the policy takes."""
    dtypes: ClassVar[tuple[torch.dtype, ...]] = (torch.uint8, torch.float32)
    """Types of the inputs that the policy takes."""
    identity: ClassVar[bool] = False
    """True if the policy changes nothing."""

    def fitted(self, inputs: Tensor, targets: Tensor) -> Augmentation[Any]:
        """Return the policy, fitted to a training split of these samples."""
        classes = 0 if targets.is_floating_point() else _CLASSES
        context = Context(0, 4, classes, tuple(inputs.shape[1:]), torch.device("cpu"), Path())
        policy = self.policy(self.parameters or self.policy.Parameters())
        return policy.fit(Samples(inputs, targets), context)

    def batches(self) -> list[TrainingBatch]:
        """Return a batch of each kind, type and task."""
        generator = torch.Generator().manual_seed(0)
        found = []
        for kind in self.kinds:
            values = torch.rand(_SAMPLES, *SHAPES[kind], generator=generator)
            for dtype in self.dtypes:
                inputs = (values * 255).to(dtype) if dtype == torch.uint8 else values
                labels = torch.arange(_SAMPLES) % _CLASSES
                found += [
                    TrainingBatch(inputs, labels),
                    TrainingBatch(inputs, torch.linspace(-1, 1, _SAMPLES)),
                ]
        return found

    def changed(self, batch: TrainingBatch, seed: int = 0, progress: float = 0.5) -> TrainingBatch:
        """Return the batch after the policy."""
        policy = self.fitted(batch.inputs, batch.targets)
        return policy(batch, torch.Generator().manual_seed(seed), progress)

    def test_shape_and_type_of_the_inputs_are_kept(self) -> None:
        for batch in self.batches():
            inputs = self.changed(batch).inputs
            assert inputs.shape == batch.inputs.shape
            assert inputs.dtype == batch.inputs.dtype
            assert bool(inputs.float().isfinite().all())

    def test_targets_stay_valid(self) -> None:
        for batch in self.batches():
            targets = self.changed(batch).targets
            if batch.targets.is_floating_point():
                assert targets.shape == batch.targets.shape
                assert targets.dtype == torch.float32
                assert batch.targets.min() <= targets.min() <= targets.max() <= batch.targets.max()
            elif targets.ndim == 1:
                assert torch.equal(targets, batch.targets)
            else:
                assert targets.shape == (_SAMPLES, _CLASSES)
                assert bool((targets >= 0).all())
                assert torch.allclose(targets.sum(1), torch.ones(_SAMPLES))

    def test_every_draw_comes_from_the_generator(self) -> None:
        for batch in self.batches():
            torch.manual_seed(1)
            one = self.changed(batch)
            state = torch.get_rng_state()
            torch.manual_seed(2)
            two = self.changed(batch)
            assert torch.equal(one.inputs, two.inputs)
            assert torch.equal(one.targets, two.targets)
            torch.manual_seed(1)
            assert torch.equal(state, torch.get_rng_state()), "the global generator has moved"
            if not self.identity:
                assert not torch.equal(one.inputs, self.changed(batch, seed=1).inputs)

    def test_what_is_given_is_not_written_to(self) -> None:
        for batch in self.batches():
            inputs, targets = batch.inputs.clone(), batch.targets.clone()
            self.changed(batch)
            assert torch.equal(batch.inputs, inputs)
            assert torch.equal(batch.targets, targets)

    def test_it_works_at_any_progress_and_for_any_size_of_batch(self) -> None:
        for batch in self.batches():
            for progress, size in ((0.0, 1), (1.0, 1), (0.3, 2), (1.0, 33)):
                part = TrainingBatch(batch.inputs[:size], batch.targets[:size])
                policy = self.fitted(batch.inputs, batch.targets)
                found = policy(part, torch.Generator().manual_seed(0), progress)
                assert found.inputs.shape == part.inputs.shape

    def test_samples_it_cannot_take_are_refused_with_a_reason(self) -> None:
        for kind in SHAPES.keys() - set(self.kinds):
            inputs = torch.zeros(4, *SHAPES[kind], dtype=self.dtypes[0])
            try:
                self.fitted(inputs, torch.arange(4) % _CLASSES)
            except AssignmentError as error:
                assert error.field.startswith("augment.")  # noqa: PT017 - the suite does not need pytest
            else:
                raise AssertionError(f"samples of {SHAPES[kind]} were not refused")

    def test_its_configuration_is_json_and_exact(self) -> None:
        batch = self.batches()[0]
        found = self.fitted(batch.inputs, batch.targets).configuration()
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        assert found["parameters"].keys() == self.policy.Parameters.model_fields.keys()
