"""Validation during training, of the eager model."""

import torch
from torch import Tensor, nn

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.learning.distributed import Peers
from comptroller_trainer.measure.quality import quality

_BATCH = 1000


def outputs_of(model: nn.Module, inputs: Tensor, device: torch.device) -> Tensor:
    """Return logits or predictions (n, outputs), float32 on the CPU; the model is left in eval mode."""
    model.eval()
    with torch.inference_mode():
        return torch.cat(
            [model(part.to(device).float()).float().cpu() for part in torch.split(inputs, _BATCH)]
        )


def validated(model: nn.Module, samples: Samples, device: torch.device, peers: Peers) -> dict[str, float]:
    """Return the quality of the model on `samples`; each process computes its share."""
    inputs = samples.inputs[peers.share(len(samples))]
    outputs = peers.gathered(outputs_of(model, inputs, device), len(samples))
    return quality(outputs.numpy(), samples.labels.cpu().numpy())
