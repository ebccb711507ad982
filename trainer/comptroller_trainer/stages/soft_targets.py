"""Soft targets: a teacher's part of a student's loss, from a compressor to the training loop."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class SoftTargets:
    """A teacher's part of a student's loss."""

    teacher: nn.Module
    """The teacher, for the same inputs and classes, in eval mode and frozen."""
    alpha: float
    """The part's share, more than 0 and at most 1."""
    temperature: float
    """The divisor of logits."""
    features: bool = False
    """Compare the distances between samples in front of the last layer, not the outputs."""

    def blended(self, losses: Tensor, inputs: Tensor, outputs: Tensor, seen: Tensor | None) -> Tensor:
        """Return (n,) of the labels' `losses` (n,) and the teacher's.

        Args:
            losses: (n,).
            inputs: (n, *shape), as the student saw them.
            outputs: (n, classes), the student's logits.
            seen: (n, d), what the student's last layer was given; wanted where features are compared.
        """
        watched: AbstractContextManager[list[Tensor]] = (
            last_input(self.teacher) if self.features else nullcontext([])
        )
        with torch.no_grad(), watched as theirs:
            logits = self.teacher(inputs.float()).float()
        if self.features:
            assert seen is not None  # noqa: S101 - `GradientAccumulator` watches where it is wanted
            apart = functional.smooth_l1_loss(
                _distances(seen), _distances(theirs[-1]), reduction="none"
            ).mean(1)
        else:
            apart = functional.kl_div(
                (outputs / self.temperature).log_softmax(1), (logits / self.temperature).log_softmax(1),
                reduction="none", log_target=True,
            ).sum(1) * self.temperature**2  # fmt: skip
        return (1 - self.alpha) * losses + self.alpha * apart


@contextmanager
def last_input(model: nn.Module) -> Iterator[list[Tensor]]:
    """Catch the last linear layer's inputs in each forward pass: (n, d), positions averaged."""
    caught: list[Tensor] = []
    last = [layer for layer in model.modules() if isinstance(layer, nn.Linear)][-1]

    def catch(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        caught.append(given[0].reshape(len(given[0]), -1, given[0].shape[-1]).mean(1))

    hook = last.register_forward_pre_hook(catch)
    try:
        yield caught
    finally:
        hook.remove()


def _distances(points: Tensor) -> Tensor:
    """Return distances (n, n) between samples (n, d), in units of their mean."""
    points = points.float()
    # The root has no derivative at equal points.
    apart = (points[:, None] - points[None]).square().sum(2).clamp_min(1e-12).sqrt()
    return apart / apart.mean().clamp_min(1e-12)
