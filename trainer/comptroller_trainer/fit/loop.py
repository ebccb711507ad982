"""The training loop, which can stop at any step and resume with the same results.

All that decides a step's numbers is the weights, the optimizer's tensors, what a watching selector has
seen, and the position (epoch, step): the batch, the augmentation, the dropout and the learning rate are
functions of the position and the seed.
"""

import math
import time
from dataclasses import asdict
from typing import Any

import structlog
import torch
from torch import Tensor, nn

from comptroller_trainer import seeds
from comptroller_trainer.augment.base import TrainingBatch
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.errors import AssignmentError, DivergedError, ObjectStoreError, Suspended
from comptroller_trainer.fit import progressive
from comptroller_trainer.fit.average import Average
from comptroller_trainer.fit.early_stopping import EarlyStopping
from comptroller_trainer.fit.gradient_accumulation import GradientAccumulator
from comptroller_trainer.fit.gradient_checkpointing import (
    with_gradient_checkpointing,
    without_gradient_checkpointing,
)
from comptroller_trainer.fit.prefetcher import Prefetcher
from comptroller_trainer.fit.state import COSTS, TrainingState
from comptroller_trainer.fit.validate import validated
from comptroller_trainer.learning import schedule
from comptroller_trainer.learning.checkpoint import Checkpoint, Checkpoints
from comptroller_trainer.learning.distributed import Peers
from comptroller_trainer.learning.loss import criterion
from comptroller_trainer.learning.optimizers import NamedOptimizer
from comptroller_trainer.recipe.parse import Recipe
from comptroller_trainer.runtime.progress import AttemptProgress
from comptroller_trainer.runtime.stop import StopSignal
from comptroller_trainer.selection.base import Selection
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.soft_targets import SoftTargets

_SAVE_EVERY = 120.0
"""Seconds of work that the loss of a node can cost."""
_log = structlog.get_logger("fit")


class TrainingLoop:
    """Trains a model to the end of a rung.

    Args:
        model: on the trial's device.
        dataset: as `prefetcher.resident` gave it.
        recipe: its selector is fitted.
        context: the trial.
        checkpoints: to resume from and to save.
        stop: ends training at the next step.
        progress: is kept up to date.
        peers: the processes that train with this one.
    """

    def __init__(
        self, model: nn.Module, dataset: Dataset, recipe: Recipe, context: Context,
        checkpoints: Checkpoints, stop: StopSignal, progress: AttemptProgress, peers: Peers | None = None,
        soft: SoftTargets | None = None,
    ) -> None:  # fmt: skip
        self.state = TrainingState()
        self.checkpoint = ""
        """URI of the latest checkpoint."""
        self._model = model
        self._dataset = dataset
        self._recipe = recipe
        self._training = training = recipe.training
        self._context = context
        self._checkpoints = checkpoints
        self._stop = stop
        self._progress = progress
        self._peers = peers or Peers()
        progressive.check(training, model, context, self._peers.size)
        self._body = model.get_submodule("body")
        if training.gradient_checkpointing:
            model.body = with_gradient_checkpointing(self._body)
        loss = criterion(training, dataset.train.labels, context)
        self._prefetcher = Prefetcher(dataset.train, context.device)
        self._accumulator = GradientAccumulator(model, loss, training, context, self._peers, soft)
        self._optimizer = NamedOptimizer(model, training)
        self._average = Average(model, training.ema)
        self._early_stopping = EarlyStopping(training, self.state)
        self._loss = torch.zeros((), dtype=torch.float64, device=context.device)
        self._best: dict[str, Tensor] = {}
        self._selection: Selection | None = None
        self._picked: list[Tensor] = []
        self._unrecorded: dict[str, dict[str, Tensor]] = {}
        self._saved: tuple[int, int] | None = None
        self._saved_at = self._counted_at = time.monotonic()
        self._joules = progress.meter.joules()

    @property
    def microbatch(self) -> int:
        """The number of samples that were in memory at once."""
        return self._accumulator.microbatch or self._training.batch_size

    def run(self, epochs: int) -> nn.Module:
        """Train to `epochs` in all or to early stopping; return the model with the weights to ship.

        Raises:
            Suspended: a stop was requested; a checkpoint of the last step is written, if the store takes it.
            DivergedError: the loss is not finite.
        """
        with self._stop.deferred():
            found = self._checkpoints.newest()
            if found is not None:
                self._resume(found)
            self._peers.agree("resume", {"step": self.state.steps, "epoch": self.state.epoch}, self._stop)
            self._skip_later_blocks(self.state.epoch - 1)
            while self.state.epoch < epochs and not self.state.stopped:
                self._skip_later_blocks(self.state.epoch)
                self._epoch()
            self._save()
        if self._best:
            self._model.load_state_dict(self._best)
        elif self._training.ema:
            self._model.load_state_dict(self._average.tensors)
        if self._training.gradient_checkpointing:
            without_gradient_checkpointing(self._body)
        self._model.body = self._body
        return self._model.eval()

    def _skip_later_blocks(self, epoch: int) -> None:
        progressive.skip_later_blocks(
            self._body, self._training.depth_start, max(0, epoch), self._context.total_epochs
        )

    def _epoch(self) -> None:
        state, selector = self.state, self._recipe.selector
        if self._selection is None:
            self._selection = selector.select(state.epoch)
        total = self._context.total_epochs
        share = progressive.share_at(self._training.batch_start, state.epoch, total)
        size = max(2, round(self._training.batch_size * share))
        order, weights = self._order(
            self._selection, progressive.share_at(self._training.subset_start, state.epoch, total)
        )
        wide = size * selector.candidates
        # The last, smaller batch is left out, another one in each epoch: norms need steps of equal size.
        count = max(1, len(order) // wide)
        fewest = min(size, len(order) // selector.candidates)
        if fewest < self._peers.size:
            raise AssignmentError(
                "recipe.batch_size", size, f"leaves a batch of {fewest} to {self._peers.size} processes"
            )
        began, waited = time.perf_counter(), 0.0
        self._model.train()
        parts = torch.split(order, wide)[state.step : count]
        shares = [None] * count if weights is None else torch.split(weights, wide)
        batches = self._prefetcher.batches(part[self._peers.share(len(part))] for part in parts)
        for part in parts:
            before = time.perf_counter()
            inputs, labels = next(batches)
            waited += time.perf_counter() - before
            waited += self._step(part, shares[state.step], inputs, labels, state.step / count)
            state.step += 1
            state.steps += 1
            self._average.update(self._model, state.steps)
            self._progress.step = state.steps
            if self._peers.stopping(self._stop.requested):
                summed = self._peers.total(self._loss)
                self._loss.fill_(summed if self._peers.first else 0.0)
                self._save_if_possible()
                raise Suspended
            if time.monotonic() - self._saved_at > _SAVE_EVERY:
                self._save_if_possible()
        train_loss = self._peers.total(self._loss) / count  # waits for the device: the seconds are true
        self._progress.loader_share = waited / (time.perf_counter() - began) if parts else None
        self._validate(train_loss)

    def _order(self, selection: Selection, share: float) -> tuple[Tensor, Tensor | None]:
        """Return the epoch's samples in the order of its batches, a function of the seed and the epoch.

        Returns:
            Their places in the training split and their weights, each (k,), on the device.
        """
        count = len(selection.indices)
        shuffled = torch.randperm(count, generator=self._context.generator("order", self.state.epoch))
        shuffled = shuffled[: max(1, round(count * share))]
        weights = None if selection.weights is None else selection.weights[shuffled].to(self._context.device)
        return selection.indices[shuffled].to(self._context.device), weights

    def _step(
        self, part: Tensor, weights: Tensor | None, inputs: Tensor, labels: Tensor, behind: float
    ) -> float:
        """Train on one batch, and return the seconds that were spent on its input."""
        state, training, selector, peers = self.state, self._training, self._recipe.selector, self._peers
        progress = (state.epoch + behind) / self._context.total_epochs
        if selector.candidates > 1:
            losses = peers.gathered(self._accumulator.losses(inputs, labels), len(part))
            chosen = selector.pick(part.cpu(), losses, max(1, len(part) // selector.candidates))
            chosen = chosen.to(part.device)
            part, weights = part[chosen], None if weights is None else weights[chosen]
            self._picked.append(part.cpu())
            inputs, labels = self._prefetcher.take(part[peers.share(len(part))])
        mine = () if peers.size == 1 else (peers.rank,)
        began, batch = time.perf_counter(), TrainingBatch(inputs, labels)
        if self._recipe.augmentation.changes:
            drawn = self._context.generator("augment", state.epoch, state.step, *mine)
            batch = self._recipe.augmentation(batch, drawn, progress)
        inputs = progressive.resized(batch.inputs.float(), training.resolution_start, progress)
        spent = time.perf_counter() - began
        seed = seeds.derive(self._context.seed, "step", state.epoch, state.step, *mine)
        seeds.set_global(seed, self._context.device)
        own = None if weights is None else weights[peers.share(len(part))]
        losses = self._accumulator.gradients(inputs, batch.targets, own, len(part))
        rate = schedule.rate(training.schedule, progress, training.warmup)
        self._optimizer.step(training.lr * rate * self._early_stopping.factor, self._accumulator.scaler)
        self._loss += (losses if own is None else losses * own).sum() / len(part)
        if selector.watches:
            selector.observe(part.cpu(), peers.gathered(losses, len(part)))
        return spent

    def _validate(self, train_loss: float) -> None:
        state = self.state
        self._finite("the loss of", train_loss)
        with self._average.applied(self._model):
            self._peers.align(b for b in self._model.buffers())
            metrics = validated(self._model, self._dataset.validation, self._context.device, self._peers)
            self._finite("the model's outputs after", metrics["loss"])
            if self._early_stopping.better(metrics) and self._training.patience:
                self._best = {name: value.clone() for name, value in self._model.state_dict().items()}
        self._record()
        self._loss.zero_()
        state.epoch, state.step = state.epoch + 1, 0
        self._selection = None
        costs = self._count()
        state.history.append({"epoch": state.epoch, "train_loss": train_loss, **metrics, **costs})
        if self._peers.any(self._early_stopping.too_long()):
            state.stopped = state.stopped or "recipe.max_seconds"
        self._progress.epoch = state.epoch
        self._progress.metrics = metrics
        _log.info("epoch", **{k: round(v, 4) for k, v in state.history[-1].items()})

    def _record(self) -> None:
        """Store the epoch's samples, if the selector cannot compute them again."""
        selector, selection = self._recipe.selector, self._selection
        if selection is None or not (selector.watches or selector.candidates > 1):
            return
        indices = torch.cat(self._picked) if self._picked else selection.indices
        made = {"indices": indices}
        if selection.weights is not None and not self._picked:
            made["weights"] = selection.weights
        self._unrecorded[f"trained-{self.state.epoch:05d}"] = made
        self._picked = []
        try:
            self._write_records()
        except ObjectStoreError as error:
            if self._peers.size > 1:
                raise  # the others wait for rank 0
            _log.warning("no record yet", reason=str(error))

    def _write_records(self) -> None:
        """Store pending records; always before a checkpoint, after which they could not be made again."""
        for name, made in list(self._unrecorded.items()):
            self._context.remember(name, made.copy)
            del self._unrecorded[name]

    def _finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise DivergedError(
                "recipe.lr", f"{self._training.lr:g}",
                f"made training diverge: {what} epoch {self.state.epoch + 1} is not finite",
            )  # fmt: skip

    def _count(self) -> dict[str, float]:
        """Add the seconds and joules since the last call to the state, and return the totals."""
        now, joules, state = time.monotonic(), self._progress.meter.joules(), self.state
        state.seconds += now - self._counted_at
        if joules is not None:
            state.joules = (state.joules or 0.0) + max(0.0, joules - (self._joules or 0.0))
        self._counted_at, self._joules = now, joules
        spent = {"seconds": state.seconds, "memory_bytes": float(self._progress.meter.peak_memory_bytes())}
        return spent if state.joules is None else spent | {"energy_joules": state.joules}

    def _save(self) -> None:
        if (self.state.epoch, self.state.steps) == self._saved:
            return  # nothing has happened since
        self._write_records()
        self._count()
        self.state.microbatch = self._accumulator.microbatch
        self.state.scaler = self._accumulator.scaler.state_dict() if self._accumulator.scaler else None
        if self._peers.first:
            saved = asdict(self.state) | {"augmentation": self._recipe.augmentation.configuration()}
            self.checkpoint = self._checkpoints.save(self._tensors(), saved, self.state.steps)
        self._mark()

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"model/{k}": v for k, v in self._model.state_dict().items()}
        tensors |= {f"best/{k}": v for k, v in self._best.items()}
        tensors |= {f"average/{k}": v for k, v in self._average.tensors.items()}
        tensors |= {f"optimizer/{k}": v for k, v in self._optimizer.tensors().items()}
        tensors |= {f"selector/{k}": v for k, v in self._recipe.selector.state_dict().items()}
        if self._recipe.selector.watches and self._selection is not None:
            tensors["selection/indices"] = self._selection.indices
            if self._selection.weights is not None:
                tensors["selection/weights"] = self._selection.weights
        if self._picked:
            tensors["picked"] = torch.cat(self._picked)
        tensors["loss"] = self._loss
        return tensors

    def _save_if_possible(self) -> None:
        """Save a checkpoint that only avoids repeated work: an unavailable store does not fail the trial."""
        try:
            self._save()
        except ObjectStoreError as error:
            _log.warning("no checkpoint", reason=str(error))
            self._saved_at = time.monotonic()

    def _resume(self, found: Checkpoint) -> None:
        def part(name: str) -> dict[str, Tensor]:
            prefix = name + "/"
            return {k.removeprefix(prefix): v for k, v in found.tensors.items() if k.startswith(prefix)}

        saved: dict[str, Any] = {k: v for k, v in found.state.items() if k != "augmentation"}
        self.state = TrainingState(**saved)
        self._early_stopping.state = self.state
        self._model.load_state_dict(part("model"))
        self._best = {k: v.to(self._context.device) for k, v in part("best").items()}
        self._average.restore(part("average"))
        self._optimizer.restore(part("optimizer"))
        self._recipe.selector.load_state_dict(part("selector"))
        chosen = part("selection")
        self._selection = Selection(chosen["indices"], chosen.get("weights")) if chosen else None
        self._picked = [found.tensors["picked"]] if "picked" in found.tensors else []
        self._accumulator.microbatch = self.state.microbatch
        if self._accumulator.scaler and self.state.scaler:
            self._accumulator.scaler.load_state_dict(self.state.scaler)
        self._loss.copy_(found.tensors["loss"] * self._peers.first)
        self.checkpoint = found.uri
        self._mark()
        self._progress.epoch, self._progress.step = self.state.epoch, self.state.steps
        if self.state.history:
            self._progress.metrics = {k: v for k, v in self.state.history[-1].items() if k not in COSTS}
        _log.info("resumed", checkpoint=found.uri, epoch=self.state.epoch, step=self.state.step)

    def _mark(self) -> None:
        self._saved = (self.state.epoch, self.state.steps)
        self._saved_at = time.monotonic()
