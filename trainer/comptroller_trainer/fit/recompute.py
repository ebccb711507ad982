"""Gradient checkpointing (Chen et al., 2016): blocks are computed again in the backward pass, not kept."""

import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from comptroller_trainer.errors import AssignmentError


class _Recomputed(nn.Sequential):
    """A sequence that keeps what is between the square root of its length of pieces, and no more."""

    def forward(self, inputs: Tensor) -> Tensor:
        layers = list(flat(self))
        size = math.ceil(math.sqrt(len(layers)))
        for start in range(0, len(layers), size):
            piece = nn.Sequential(*layers[start : start + size])
            inputs = checkpoint(piece, inputs, use_reentrant=False, context_fn=partial(_contexts, piece))
        return inputs


def recomputed(body: nn.Module) -> nn.Module:
    """A body with the weights and names of `body` that computes again what it does not keep.

    Raises:
        AssignmentError: it has no blocks in sequence.
    """
    if hasattr(body, "set_grad_checkpointing"):  # timm's own
        body.set_grad_checkpointing()  # type: ignore[operator]
        return body
    if not isinstance(body, nn.Sequential):
        raise AssignmentError(
            "recipe.gradient_checkpointing", "true", "needs a model whose blocks are in sequence"
        )
    return _Recomputed(OrderedDict(body.named_children()))


def flat(module: nn.Module) -> Iterator[nn.Module]:
    """The layers of a sequence, those of sequences in it one by one."""
    for child in module.children():
        if isinstance(child, nn.Sequential):
            yield from flat(child)
        else:
            yield child


def _contexts(piece: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _norms_untouched(piece)


@contextmanager
def _norms_untouched(piece: nn.Module) -> Iterator[None]:
    """Norms see the batch a second time, and must not count it twice."""
    norms = [m for m in piece.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    seen = [norm.num_batches_tracked for norm in norms if norm.num_batches_tracked is not None]
    counts = [count.clone() for count in seen]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for now, count in zip(seen, counts, strict=True):
            now.copy_(count)
