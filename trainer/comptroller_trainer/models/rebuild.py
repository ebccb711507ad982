"""Rebuild a trained model from a rung's `architecture.json` and `model.safetensors`, without pickles."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from comptroller_trainer.models.base import CALIBRATION, Classifier
from comptroller_trainer.models.factored import Factored, inner, replace
from comptroller_trainer.models.rescale import Rescale
from comptroller_trainer.stages import registry
from comptroller_trainer.stages.registry import CHOICES


def rebuilt(architecture: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Classifier:
    """Return the model with these weights, in eval mode on the CPU; pruned layers are as narrow as theirs.

    Those that were factored are two where the weights are those of two.

    Args:
        architecture: what `export.weights.save_weights` wrote.
        tensors: by the names of the module's state.

    Raises:
        ValueError: the weights are not of this architecture.
    """
    family = registry.known(CHOICES["model"].group)[architecture["family"]].load()
    shape, outputs = tuple(architecture["shape"]), architecture["classes"] or 1
    body = family(family.Parameters(**architecture["parameters"])).build(shape, outputs)
    if not architecture["classes"]:
        body = nn.Sequential(body, Rescale(torch.zeros(2)))
    model = Classifier(body, torch.zeros(shape[0]), torch.ones(shape[0]), shape)
    for name, layer in list(inner(model)):
        if (down := tensors.get(f"{name}.down.weight")) is not None:
            replace(model, name, Factored(layer, len(down)))
    for name, module in model.named_modules():
        _narrow(module, {k: v for k in ("weight", "bias") if (v := tensors.get(f"{name}.{k}")) is not None})
        if isinstance(module, _BatchNorm):
            _narrow_statistics(module)
    for name in CALIBRATION:
        setattr(model, name, tensors.get(name))
    try:
        model.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    return model.eval()


def _narrow(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give the module's own parameters the shapes of `tensors`, and its sizes what follows from them."""
    for name, tensor in tensors.items():
        own = getattr(module, name, None)
        if isinstance(own, nn.Parameter) and own.shape != tensor.shape:
            setattr(module, name, nn.Parameter(torch.empty_like(tensor)))
    weight = getattr(module, "weight", None)
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Conv1d | nn.Conv2d):
        depthwise = module.groups == module.in_channels == module.out_channels
        module.out_channels = module.weight.shape[0]
        if depthwise:
            module.groups = module.out_channels
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, _BatchNorm) and isinstance(weight, nn.Parameter):
        module.num_features = len(weight)
    elif isinstance(module, nn.LayerNorm) and isinstance(weight, nn.Parameter):
        module.normalized_shape = tuple(weight.shape)


def _narrow_statistics(norm: _BatchNorm) -> None:
    for name in ("running_mean", "running_var"):
        if getattr(norm, name) is not None:
            setattr(norm, name, torch.zeros(norm.num_features))
