"""The model as weights without pickles, and the architecture to load them into."""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from comptroller_trainer.stages.base import Context


def save_weights(
    model: nn.Module, family: str, parameters: Mapping[str, object], context: Context
) -> list[Path]:
    """`model.safetensors`, and the `architecture.json` that says what to load it into."""
    weights = context.directory / "model.safetensors"
    tensors = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()
    }
    save_file(tensors, weights)
    architecture = context.directory / "architecture.json"
    described = {
        "family": family,
        "parameters": dict(parameters),
        "shape": list(context.shape),
        "classes": context.classes,
        "input": "float32, the data's own values (bytes: 0 to 255); the model standardises",
    }
    architecture.write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
    return [weights, architecture]
