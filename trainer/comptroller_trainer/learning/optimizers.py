"""Optimizers: torch's own, their state as named tensors."""

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from comptroller_trainer.learning.compiler import spare
from comptroller_trainer.learning.training import Training


class NamedOptimizer:
    """An optimizer over a model's parameters that keeps its state by the parameters' names."""

    def __init__(self, model: nn.Module, training: Training) -> None:
        spare(Optimizer.add_param_group)
        self._training = training
        self._named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._optimizers = _built(list(self._named.values()), training)
        # Called without its wrapper, which switches gradients off and imports the compiler.
        self._steps = [inspect.unwrap(type(o).step) for o in self._optimizers]

    def step(self, lr: float, scaler: "torch.amp.GradScaler | None" = None) -> None:
        """Move the parameters along their gradients, and forget the gradients.

        Args:
            lr: learning rate.
            scaler: fp16's: where a gradient has overflowed, nothing moves.
        """
        if scaler is None:
            self._prepare()
            self._move(lr)
        else:
            for optimizer in self._optimizers:
                scaler.unscale_(optimizer)
            self._prepare()
            for optimizer in self._optimizers:
                _set(optimizer, lr)
                scaler.step(optimizer)
            scaler.update()
        for p in self._named.values():
            p.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """Return the state by `<parameter>/<quantity>`."""
        return {
            f"{name}/{quantity}": value
            for name, p in self._named.items()
            for optimizer in self._optimizers
            for quantity, value in optimizer.state.get(p, {}).items()
            if isinstance(value, Tensor)
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore the state from `tensors`."""
        owners = {p: o for o in self._optimizers for group in o.param_groups for p in group["params"]}
        for key, value in tensors.items():
            name, _, quantity = key.rpartition("/")
            p = self._named[name]
            # AdamW's step count is a scalar and stays on the CPU.
            owners[p].state[p][quantity] = value.to(p.device) if value.ndim else value.clone()

    def _prepare(self) -> None:
        if self._training.clip_norm:
            nn.utils.clip_grad_norm_(self._named.values(), self._training.clip_norm)
        if self._training.l1:
            for p in self._named.values():
                if p.ndim > 1 and p.grad is not None:
                    p.grad.add_(p.detach().sign(), alpha=self._training.l1)

    def _move(self, lr: float) -> None:
        with torch.no_grad():
            for optimizer, step in zip(self._optimizers, self._steps, strict=True):
                _set(optimizer, lr)
                step(optimizer)


def _built(parameters: list[nn.Parameter], training: Training) -> list[Optimizer]:
    lr, decay, momentum = training.lr, training.weight_decay, training.momentum
    match training.optimizer:
        case "sgd":
            return [SGD(_groups(parameters, decay), lr=lr, momentum=momentum, nesterov=momentum > 0)]
        case "adamw":
            return [AdamW(_groups(parameters, decay), lr=lr)]
        case "adam":
            return [Adam(_groups(parameters, decay), lr=lr)]
        case "rmsprop":
            return [RMSprop(_groups(parameters, decay), lr=lr, momentum=momentum)]
        case "muon":
            matrices = [p for p in parameters if p.ndim == 2]  # noqa: PLR2004 - a matrix
            others = [p for p in parameters if p.ndim != 2]  # noqa: PLR2004 - a matrix
            built: list[Optimizer] = []
            if matrices:
                # Scaled so that one rate suits both (Liu et al., 2025).
                built.append(
                    torch.optim.Muon(
                        matrices, lr=lr, weight_decay=decay, momentum=momentum,
                        adjust_lr_fn="match_rms_adamw",
                    )
                )  # fmt: skip
            return [*built, AdamW(_groups(others, decay), lr=lr)] if others else built


def _groups(parameters: Sequence[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    # Weight decay must not shrink biases and norms' scales.
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _set(optimizer: Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr
