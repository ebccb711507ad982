"""Quantization-aware training: weights and activations are rounded as int8 will round them."""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from comptroller_trainer.compression.base import Compressor
from comptroller_trainer.compression.pipeline import FIELD
from comptroller_trainer.compression.train import TuneParameters
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.models.factored import layers
from comptroller_trainer.stages.base import Context

_WEIGHTS, _ACTIVATIONS = (-64, 64), (0, 255)
"""The numbers that `int8_static` has for them: ONNX Runtime's reduced range, and 8 bits."""
_SMALLEST = 1e-12
"""Step between two numbers."""


class QuantizationAwareTraining(Compressor[TuneParameters]):
    """`qat`: fine-tunes on labels, rounded forwards, straight through backwards (Jacob et al., 2018).

    What is rounded are the weights of linear layers and convolutions, by output channel, and what goes into
    these layers, by the range of the batch. `int8_static` then takes its ranges from the training split.
    """

    Parameters = TuneParameters
    place = "training"
    wants = "int8_static"

    def check(self, model: nn.Module, context: Context) -> None:
        del context
        if not any(layers(model)):
            raise AssignmentError(FIELD, "qat", "finds no linear layer and no convolution")

    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        p, hooks, rounded = self.parameters, [], []
        for _, layer in layers(model):
            rounded.append(FakeQuantized())
            parametrize.register_parametrization(layer, "weight", rounded[-1])
            hooks.append(layer.register_forward_pre_hook(_round_inputs))
        try:
            self.model_ = context.tune(model, dataset, p.tune_epochs, p.tune_rate, None)
        finally:
            for hook in hooks:
                hook.remove()
        for one in rounded:
            one.bypassed = True  # int8 rounds what was trained, once
        return self


class FakeQuantized(nn.Module):
    """A weight (out, ...) as `int8_static` holds it; while bypassed, as it is."""

    bypassed = False

    def forward(self, weight: Tensor) -> Tensor:
        """The weight in use."""
        if self.bypassed:
            return weight
        low, high = _WEIGHTS
        largest = weight.detach().flatten(1).abs().amax(1)
        scale = (2 * largest / (high - low)).clamp_min(_SMALLEST)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, low, high)


def _round_inputs(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor]:
    inputs = given[0].float()
    low, high = _ACTIVATIONS
    least, most = (edge.detach() for edge in inputs.aminmax())
    least, most = least.clamp_max(0), most.clamp_min(0)  # zero is one of the numbers, for padding
    scale = ((most - least) / (high - low)).clamp_min(_SMALLEST)
    zero = (low - least / scale).round().clamp(low, high).to(torch.int32)
    return (torch.fake_quantize_per_tensor_affine(inputs, scale, zero, low, high),)
