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

FIELD = "recipe.gradient_checkpointing"


class _Checkpointed(nn.Sequential):
    """A sequence in as many pieces as the square root of its length; only tensors between pieces are kept."""

    def forward(self, inputs: Tensor) -> Tensor:
        layers = list(flat(self))
        size = math.ceil(math.sqrt(len(layers)))
        for start in range(0, len(layers), size):
            piece = nn.Sequential(*layers[start : start + size])
            inputs = checkpoint(piece, inputs, use_reentrant=False, context_fn=partial(_contexts, piece))
        return inputs


def with_gradient_checkpointing(body: nn.Module) -> nn.Module:
    """Return a body with the weights and names of `body` that computes again what it does not keep.

    Raises:
        AssignmentError: the body has no blocks in sequence.
    """
    if (backbone := _of_timm(body)) is not None:
        if any(isinstance(module, _BatchNorm) for module in backbone.modules()):
            raise AssignmentError(
                FIELD, "true", "would have this architecture's norms count each batch twice"
            )
        try:
            backbone.set_grad_checkpointing(True)  # type: ignore[operator]
        except (AssertionError, AttributeError) as error:
            raise AssignmentError(FIELD, "true", "is not known to this architecture of timm") from error
        return body
    if not isinstance(body, nn.Sequential):
        raise AssignmentError(FIELD, "true", "needs a model whose blocks are in sequence")
    return _Checkpointed(OrderedDict(body.named_children()))


def without_gradient_checkpointing(body: nn.Module) -> None:
    """Undo what `with_gradient_checkpointing` did to `body` itself."""
    if (backbone := _of_timm(body)) is not None:
        backbone.set_grad_checkpointing(False)  # type: ignore[operator]


def _of_timm(body: nn.Module) -> nn.Module | None:
    """Return the part of `body` with gradient checkpointing; in a regression, a scale follows it."""
    parts = (body, *body.children())
    return next((part for part in parts if hasattr(part, "set_grad_checkpointing")), None)


def flat(module: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers of a sequence, with nested sequences flattened."""
    for child in module.children():
        if isinstance(child, nn.Sequential):
            yield from flat(child)
        else:
            yield child


def _contexts(piece: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    return nullcontext(), _norms_untouched(piece)


@contextmanager
def _norms_untouched(piece: nn.Module) -> Iterator[None]:
    """Keep norms from counting a batch twice that they see twice."""
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
