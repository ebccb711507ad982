"""Fine-tune a changed model: the same loop, a lower rate, and separate checkpoints."""

from dataclasses import replace

from torch import nn

from comptroller_trainer import seeds
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.fit.loop import TrainingLoop
from comptroller_trainer.fit.prefetcher import resident
from comptroller_trainer.learning.checkpoint import Checkpoints
from comptroller_trainer.recipe.parse import Recipe
from comptroller_trainer.runtime.stage_timer import StageTimer
from comptroller_trainer.selection.uniform import FreshUniform
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.soft_targets import SoftTargets
from comptroller_trainer.store import ObjectStore

_ONCE = {
    "schedule": "cosine", "warmup": None, "patience": 0, "max_seconds": 0.0, "ema": 0.0,
    "resolution_start": 1.0, "batch_start": 1.0, "subset_start": 1.0, "depth_start": 1.0,
}  # fmt: skip
"""Settings without a purpose once the model was trained."""


class FineTuning:
    """`stages.base.FineTune` for one attempt at a rung.

    Args:
        recipe: the trial's. In place of a selector that follows training, uniform subsets are drawn.
        context: the trial.
        store: its prefix.
        fingerprint: of all that decides the numbers.
        place: the rung and the attempt.
        timer: stop and progress.
    """

    def __init__(
        self,
        recipe: Recipe,
        context: Context,
        store: ObjectStore,
        fingerprint: str,
        place: tuple[int, int],
        timer: StageTimer,
    ) -> None:
        self._recipe, self._context, self._store, self._timer = recipe, context, store, timer
        self._fingerprint = fingerprint
        self._rung, self._attempt = place

    def __call__(
        self, model: nn.Module, dataset: Dataset, epochs: int, rate: float, soft: SoftTargets | None
    ) -> nn.Module:
        """Fine-tune `model` as `Context.tune` describes."""
        recipe, context, device = self._recipe, self._context, self._context.device
        seed = seeds.derive(context.seed, "tune", self._rung)
        context = replace(context, seed=seed, total_epochs=epochs)
        training = recipe.training.model_copy(update=_ONCE | {"lr": recipe.training.lr * rate})
        selector = recipe.selector
        if selector.watches or selector.paced or selector.candidates > 1:
            selector = FreshUniform(FreshUniform.Parameters(keep=selector.parameters.keep))
            selector.fit(dataset.train, context)
        near = replace(
            dataset, train=resident(dataset.train, device), validation=resident(dataset.validation, device)
        )
        checkpoints = Checkpoints(
            self._store, self._fingerprint, self._attempt, f"tuned/{self._rung}/checkpoints/"
        )
        fit = TrainingLoop(
            model.to(device).requires_grad_(requires_grad=True), near,
            replace(recipe, selector=selector, training=training), context, checkpoints,
            self._timer.stop, self._timer.progress, None, soft,
        )  # fmt: skip
        return fit.run(epochs)
