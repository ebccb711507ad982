"""The proxy: a small network that scores samples for a fraction of the cost of training on them.

It sees each image averaged down to about 14 pixels a side (sequences: 64 steps), so that an epoch over
60,000 images takes about a second on two cores.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from comptroller_trainer import seeds
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.learning.optimizers import NamedOptimizer
from comptroller_trainer.learning.training import Training
from comptroller_trainer.stages.base import Context

EMBEDDING = 64
"""Units before the last layer."""
_SIDES = {2: 14, 1: 64}
"""Positions along each axis after an average pool, about, by the number of axes."""
_LR = 5e-3
_WARM_UP = 0.25
_EVALUATED = 4096
"""Samples of a forward pass without gradients."""
_SMALLEST, _LARGEST = 16, 512
"""Samples in a step."""


def shrunk(samples: Samples) -> Tensor:
    """Return the inputs pooled and standardised by channel or feature, float32 (n, *shape), on the CPU."""
    axes = samples.inputs.ndim - 2
    pool = {2: functional.avg_pool2d, 1: functional.avg_pool1d}.get(axes)
    if pool is None:
        small = samples.inputs.float()
    else:
        kernel = tuple(max(1, round(size / _SIDES[axes])) for size in samples.inputs.shape[2:])
        small = torch.cat([pool(part.float(), kernel) for part in torch.split(samples.inputs, _EVALUATED)])
    over = (0, *range(2, small.ndim))
    mean = small.mean(over, keepdim=True)
    deviation = small.var(over, correction=0, keepdim=True).sqrt()
    return (small - mean).div_(torch.where(deviation < 1e-6, 1.0, deviation)).cpu()  # noqa: PLR2004 - rounding


def targets_of(labels: Tensor) -> Tensor:
    """Return classes as they are, and numbers standardised."""
    if not labels.is_floating_point():
        return labels.cpu()
    values = labels.float().cpu()
    deviation = values.std(correction=0)
    return (values - values.mean()) / (deviation if deviation > 0 else 1.0)


def losses_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the cross entropy in nats, or the squared error: (n,)."""
    if targets.is_floating_point():
        return (logits.squeeze(1) - targets).square()
    return functional.cross_entropy(logits, targets, reduction="none")


class Proxy(nn.Module):
    """A network of about 40,000 weights: two strided convolutions, or one more layer for tables."""

    def __init__(self, shape: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        axes = len(shape) - 1
        if axes == 0:
            layers += [nn.Linear(shape[0], EMBEDDING), nn.ReLU()]
            features = EMBEDDING
        else:
            kind = {1: nn.Conv1d, 2: nn.Conv2d}[axes]
            kernel = {1: 5, 2: 3}[axes]
            for before, after in ((shape[0], 16), (16, 32)):
                layers += [kind(before, after, kernel, stride=2, padding=kernel // 2), nn.ReLU()]
            features = 32 * math.prod((size + 3) // 4 for size in shape[1:])
            layers.append(nn.Flatten())
        self.body = nn.Sequential(*layers, nn.Linear(features, EMBEDDING), nn.ReLU())
        self.head = nn.Linear(EMBEDDING, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits (n, outputs)."""
        logits: Tensor = self.head(self.body(inputs))
        return logits


def train(
    inputs: Tensor, targets: Tensor, context: Context, epochs: int, *place: str | int
) -> Iterator[Proxy]:
    """Yield the proxy after each epoch, always the same object, trained by AdamW with a one-cycle rate.

    Args:
        inputs: (n, *shape) float32, of `shrunk`.
        targets: (n,), of `targets_of`.
        context: seed, outputs and device.
        epochs: of all inputs.
        place: distinguishes the trial's proxies.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seeds.derive(context.seed, "proxy", *place))
        proxy = Proxy(tuple(inputs.shape[1:]), context.outputs)
    proxy = proxy.to(context.device)
    optimizer = NamedOptimizer(proxy, Training(optimizer="adamw", lr=_LR, weight_decay=1e-2))
    size = min(max(len(inputs) // 128, _SMALLEST), _LARGEST)
    steps = math.ceil(len(inputs) / size)
    for epoch in range(epochs):
        order = torch.randperm(len(inputs), generator=context.generator("proxy", *place, "order", epoch))
        for step, index in enumerate(torch.split(order, size)):
            progress = (epoch + (step + 0.5) / steps) / epochs
            logits = proxy(inputs[index].to(context.device))
            torch.autograd.backward(losses_of(logits, targets[index].to(context.device)).mean())
            optimizer.step(_LR * min(progress / _WARM_UP, (1 - progress) / (1 - _WARM_UP)))
        yield proxy


def outputs_of(proxy: Proxy, inputs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Logits (m, outputs) and embeddings (m, 64) of all inputs in their order, part by part, on the CPU."""
    device = proxy.head.weight.device
    with torch.inference_mode():
        for part in torch.split(inputs, _EVALUATED):
            embeddings = proxy.body(part.to(device))
            yield proxy.head(embeddings).cpu(), embeddings.cpu()
