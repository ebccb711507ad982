"""Progressive training: sizes that grow as functions of progress alone."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.fit.gradient_checkpointing import flat
from comptroller_trainer.learning.training import Training
from comptroller_trainer.models.layers import Residual
from comptroller_trainer.stages.base import Context
from comptroller_trainer.stages.modality import IMAGE

_WHOLE_FROM = 0.75
"""Share of training after which images have the size that validation sees."""
_STEP = 4
"""Pixels that sides grow by: each new size costs a first batch."""


def share_at(start: float, epoch: int, total: int) -> float:
    """Return the share in use in `epoch` of `total`: `start` in the first, 1 in the last."""
    return 1.0 if total == 1 else start + (1 - start) * min(epoch / (total - 1), 1.0)


def image_side(whole: int, start: float, progress: float) -> int:
    """Return the pixels of an image's side that has `whole` pixels at the end."""
    share = min(1.0, start + (1 - start) * progress / _WHOLE_FROM)
    return min(whole, max(_STEP, round(whole * share / _STEP) * _STEP)) if share < 1 else whole


def resized(inputs: Tensor, start: float, progress: float) -> Tensor:
    """Return the images (n, c, h, w) in their size at `progress`."""
    if start == 1:
        return inputs
    size = [image_side(length, start, progress) for length in inputs.shape[2:]]
    if size == list(inputs.shape[2:]):
        return inputs
    return functional.interpolate(inputs, size, mode="bilinear", antialias=True, align_corners=False)


def skip_later_blocks(body: nn.Module, start: float, epoch: int, total: int) -> None:
    """Skip the residual blocks that have not come yet in `epoch` of `total`."""
    blocks = _optional(body) if start < 1 else []
    come = math.ceil(share_at(start, epoch, total) * len(blocks))
    for number, block in enumerate(blocks):
        block.skipped = number >= come


def _optional(body: nn.Module) -> list[Residual]:
    return [layer for layer in flat(body) if isinstance(layer, Residual) and layer.optional]


def check(training: Training, model: nn.Module, context: Context, processes: int) -> None:
    """Check that the model can grow as the recipe says.

    Raises:
        AssignmentError: the model takes no images of other sizes, or samples are not images; the model has no
            blocks that can be skipped, or another setting needs all blocks.
    """
    if training.depth_start < 1:
        _check_depth(training, model.get_submodule("body"), processes)
    start = training.resolution_start
    if start == 1:
        return
    field, value = "recipe.resolution_start", f"{start:g}"
    if len(context.shape) != IMAGE:
        raise AssignmentError(field, value, f"needs images, not samples of {context.shape}")
    was = model.training
    example = torch.zeros(2, *context.shape, device=context.device)
    try:
        with torch.no_grad():
            model.eval()(resized(example, start, 0.0))
    except RuntimeError as error:
        raise AssignmentError(field, value, "needs a model that takes images of any size") from error
    finally:
        model.train(was)


def _check_depth(training: Training, body: nn.Module, processes: int) -> None:
    rule = ""
    if len(_optional(body)) < 2:  # noqa: PLR2004 - one has no other to wait for
        rule = "needs a model with two residual blocks or more that keep their shape: resnet or transformer"
    elif training.patience:
        rule = "contradicts recipe.patience: the best weights may be of fewer blocks"
    elif processes > 1:
        rule = "needs one process: several agree on the gradients of every weight in each step"
    if rule:
        raise AssignmentError("recipe.depth_start", f"{training.depth_start:g}", rule)
