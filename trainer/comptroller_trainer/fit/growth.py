"""Progressive training: what grows while it goes on, each a function of progress alone."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.recipe import Training
from comptroller_trainer.stages import Context

_WHOLE_FROM = 0.75
"""Of training: from here on, images have the size that validation sees."""
_STEP = 4
"""Pixels that sides grow by: each new size costs a first batch."""


def grown(start: float, epoch: int, total: int) -> float:
    """The share of the whole in `epoch` of `total`: `start` in the first, all in the last."""
    return 1.0 if total == 1 else start + (1 - start) * min(epoch / (total - 1), 1.0)


def side(whole: int, start: float, progress: float) -> int:
    """Pixels of an image's side of `whole` pixels."""
    share = min(1.0, start + (1 - start) * progress / _WHOLE_FROM)
    return min(whole, max(_STEP, round(whole * share / _STEP) * _STEP)) if share < 1 else whole


def shrunk(inputs: Tensor, start: float, progress: float) -> Tensor:
    """The images (n, c, h, w) as large as they are at `progress`."""
    if start == 1:
        return inputs
    size = [side(length, start, progress) for length in inputs.shape[2:]]
    if size == list(inputs.shape[2:]):
        return inputs
    return functional.interpolate(inputs, size, mode="bilinear", antialias=True, align_corners=False)


def check(training: Training, model: nn.Module, context: Context) -> None:
    """Whether the model takes images of the sizes that training begins with.

    Raises:
        AssignmentError: it does not, or samples are no images.
    """
    start = training.resolution_start
    if start == 1:
        return
    field, value = "recipe.resolution_start", f"{start:g}"
    if len(context.shape) != 3:  # noqa: PLR2004
        raise AssignmentError(field, value, f"needs images, not samples of {context.shape}")
    was = model.training
    example = torch.zeros(2, *context.shape, device=context.device)
    try:
        with torch.no_grad():
            model.eval()(shrunk(example, start, 0.0))
    except RuntimeError as error:
        raise AssignmentError(field, value, "needs a model that takes images of any size") from error
    finally:
        model.train(was)
