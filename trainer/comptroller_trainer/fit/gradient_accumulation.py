"""One step's forward and backward passes, in as many parts as memory requires."""

import os
import shutil
from contextlib import AbstractContextManager, nullcontext

import structlog
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from comptroller_trainer import seeds
from comptroller_trainer.errors import AssignmentError, out_of_memory
from comptroller_trainer.learning import precision
from comptroller_trainer.learning.distributed import Peers
from comptroller_trainer.learning.loss import Criterion
from comptroller_trainer.learning.training import Training
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.soft_targets import SoftTargets, last_input

_log = structlog.get_logger("fit")


class GradientAccumulator:
    """Computes gradients.

    Args:
        model: on the trial's device.
        criterion: losses of samples.
        training: the recipe.
        context: the trial.
        peers: who have the rest of each batch.
        soft: a teacher's part of the loss.
    """

    def __init__(
        self, model: nn.Module, criterion: Criterion, training: Training, context: Context, peers: Peers,
        soft: SoftTargets | None = None,
    ) -> None:  # fmt: skip
        self.microbatch = training.microbatch
        """The number of samples in memory at once; 0: all."""
        self.precision = precision.resolve(training.precision, context.device)
        self.scaler = precision.scaler(self.precision, context.device)
        self._model = model
        self._criterion = criterion
        self._soft = soft
        self._device = context.device
        self._peers = peers
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
        self._fewest = 2 if norms else 1  # a norm has nothing to say of a single sample
        self._statistics = [b for norm in norms for b in norm.buffers()]
        self._before = [b.clone() for b in self._statistics]
        self._forward = peers.wrapped(_compiled(model) if training.compile else model, context.device)

    def losses(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return losses (n,) without training on the samples; the model is left in training mode."""
        self._model.eval()
        found = []
        with torch.no_grad():
            for part, wanted in zip(self._split(inputs), self._split(targets), strict=True):
                with precision.autocast(self.precision, self._device):
                    outputs = self._model(part.float())
                found.append(self._criterion(outputs.float(), wanted))
        self._model.train()
        return torch.cat(found)

    def gradients(self, inputs: Tensor, targets: Tensor, weights: Tensor | None, count: int) -> Tensor:
        """Leave the gradient of the batch's mean loss in the parameters.

        If memory does not suffice, the samples in memory at once are halved, for all later steps too; the
        batch keeps its size.

        Args:
            inputs: (n, *shape) float32, this process's share of the batch.
            targets: (n,) or (n, classes).
            weights: (n,) of the losses; None: all 1.
            count: samples of the whole batch.

        Returns:
            (n,) losses, unweighted and detached.
        """
        seed = torch.initial_seed()
        _copy(self._before, self._statistics)
        while True:
            try:
                return self._gradients(inputs, targets, weights, count)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error) or self._peers.size > 1 or not self._halved(len(inputs)):
                    raise
            # Outside the handler, so that nothing of the failed pass is held any more.
            self._model.zero_grad()
            _copy(self._statistics, self._before)
            seeds.set_global(seed, self._device)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _gradients(self, inputs: Tensor, targets: Tensor, weights: Tensor | None, count: int) -> Tensor:
        parts = list(zip(self._split(inputs), self._split(targets), strict=True))
        shares = [None] * len(parts) if weights is None else self._split(weights)
        found = []
        for place, ((part, wanted), share) in enumerate(zip(parts, shares, strict=True)):
            last = place == len(parts) - 1
            with nullcontext() if last or self._peers.size == 1 else self._forward.no_sync():  # type: ignore[operator]
                with precision.autocast(self.precision, self._device), self._watched() as seen:
                    outputs = self._forward(part)
                losses = self._criterion(outputs.float(), wanted)
                if self._soft:
                    losses = self._soft.blended(losses, part, outputs.float(), seen[-1] if seen else None)
                # Processes' gradients are averaged, so each one's are of its share times their number.
                loss = (losses if share is None else losses * share).sum() / (count / self._peers.size)
                torch.autograd.backward(loss if self.scaler is None else self.scaler.scale(loss))
            found.append(losses.detach())
        return torch.cat(found)

    def _watched(self) -> AbstractContextManager[list[Tensor]]:
        """Catch the last layer's inputs if a teacher compares features."""
        return last_input(self._model) if self._soft and self._soft.features else nullcontext([])

    def _split(self, tensor: Tensor) -> tuple[Tensor, ...]:
        size = self.microbatch
        return torch.tensor_split(tensor, -(-len(tensor) // size)) if 0 < size < len(tensor) else (tensor,)

    def _halved(self, count: int) -> bool:
        now = min(self.microbatch or count, count)
        if now // 2 < self._fewest:
            return False
        self.microbatch = now // 2
        _log.warning("out of memory: fewer samples at once", microbatch=self.microbatch, batch=count)
        return True


def _copy(to: list[Tensor], source: list[Tensor]) -> None:
    if to:
        torch._foreach_copy_(to, source)


def _compiled(model: nn.Module) -> nn.Module:
    compilers = [os.environ.get("CXX", ""), "c++", "g++", "clang++"]
    if not any(name and shutil.which(name) for name in compilers):
        raise AssignmentError("recipe.compile", "true", "needs a C++ compiler, and this image has none")
    compiled: nn.Module = torch.compile(model)  # type: ignore[assignment]
    return compiled
