"""Count the costs of a model on one sample, before training."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from comptroller_trainer.learning.compiler import spare
from comptroller_trainer.models.base import parameter_count


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """The costs of one forward pass of one sample, in float32."""

    parameters: int
    """Number of weights, frozen ones too."""
    macs: int
    """Multiply-adds of matrix products, convolutions and attention; element-wise work is not counted."""
    activation_bytes: int
    """Bytes that autograd keeps of one sample for the backward pass, without weights and buffers."""


def profile(model: nn.Module, shape: tuple[int, ...]) -> ModelProfile:
    """Return the profile of `model`, on its device, for samples of `shape`; the model is not changed.

    Memory of a training step is about `activation_bytes` times the batch size, plus weights, gradients and
    the optimizer's state; dropout's masks come on top.
    """
    from torch.utils.flop_counter import FlopCounterMode, _FlopCounterMode  # noqa: PLC0415 - for `profile`

    spare(_FlopCounterMode.__torch_dispatch__)
    training = model.training
    own = {tensor.untyped_storage().data_ptr() for tensor in [*model.parameters(), *model.buffers()]}
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    kept: dict[tuple[int, ...], int] = {}

    def keep(tensor: Tensor) -> Tensor:
        # Layers in a row keep the same tensor, one as its output and one as its input.
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            kept[place, int(tensor.storage_offset()), tensor.numel()] = tensor.nbytes
        return tensor

    model.eval()
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = model(torch.zeros(1, *shape, device=device))
        del outputs  # until here, so that no place in memory is taken twice
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.zeros(1, *shape, device=device))
    finally:
        model.train(training)
    return ModelProfile(
        parameter_count(model),
        counter.get_total_flops() // 2,
        sum(kept.values()),
    )
