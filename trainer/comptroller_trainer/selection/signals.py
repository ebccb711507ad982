"""Signals: a proxy's scores of each sample, computed once in a trial."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from comptroller_trainer.selection import proxy
from comptroller_trainer.selection.base import SelectorParameters
from comptroller_trainer.stages.base import Context

FOLDS = 3


class ProxyParameters(SelectorParameters):
    """`data.*` of the selectors that train a proxy."""

    proxy_epochs: int = Field(4, ge=1, le=100, description="Epochs of the small network that scores samples.")


def signals(inputs: Tensor, labels: Tensor, context: Context, epochs: int) -> dict[str, Tensor]:
    """Return signals of each sample from a proxy that trains on all of them; higher is harder.

    Signals are means over the proxy's epochs, each (n,) float32, except `embeddings` (n, 64):

    - `loss`.
    - `grand`: norm of the last layer's gradient (GraNd, Paul et al., 2021, of that layer alone).
    - `tracin`: its square, summed over epochs: the influence of a sample on itself (Pruthi et al., 2020).
    - classes only: `el2n`: norm of the error in probability (Paul et al., 2021); `forgetting`: epochs in
      which a sample became wrong after right, all where it never was right, ties by loss (Toneva et al.,
      2019); `aum`: negated margin of the label's logit over the next (Pleiss et al., 2020); and of the last
      epoch, blind to labels: `margin` (negated, between the two likeliest), `entropy`, `least_confidence`.

    Args:
        inputs: (n, *shape) float32, of `proxy.shrunk`.
        labels: (n,).
        context: the trial.
        epochs: of the proxy.
    """
    targets = proxy.targets_of(labels)
    names = ["loss", "grand", "tracin"] + ([] if targets.is_floating_point() else ["el2n", "aum"])
    sums = {name: torch.zeros(len(inputs)) for name in names}
    rights: list[Tensor] = []
    last: dict[str, Tensor] = {}
    for net in proxy.train(inputs, targets, context, epochs, "signals"):
        parts, begin = [], 0
        for logits, embeddings in proxy.outputs_of(net, inputs):
            parts.append(_part(logits, embeddings, targets[begin : begin + len(logits)]))
            begin += len(logits)
        last = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        for name in names:
            sums[name] += last[name]
        if "right" in last:
            rights.append(last.pop("right"))
    found = last | {name: total if name == "tracin" else total / epochs for name, total in sums.items()}
    if "el2n" in found:
        found["forgetting"] = forgetting_events(torch.stack(rights)) + found["loss"] / (1 + found["loss"])
    return found


def forgetting_events(right: Tensor) -> Tensor:
    """Count how often each sample became wrong after right, (n,) int64; all epochs if it never was right.

    Args:
        right: (epochs, n) bool.
    """
    events = (right[:-1] & ~right[1:]).sum(0)
    return torch.where(right.any(0), events, len(right))


def uncertainty(logits: Tensor) -> dict[str, Tensor]:
    """Return the signals that need no label, each (n,); higher is less certain.

    Args:
        logits: (n, classes), classes at least 2.
    """
    probabilities = logits.softmax(1)
    first, second = probabilities.topk(2, dim=1).values.unbind(1)
    return {
        "margin": second - first,
        "entropy": torch.special.entr(probabilities).sum(1),
        "least_confidence": 1 - first,
    }


def _part(logits: Tensor, embeddings: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The signals of one epoch for some samples."""
    if targets.is_floating_point():
        error = (logits.squeeze(1) - targets).abs()
        found = {}
    else:
        error = (logits.softmax(1) - functional.one_hot(targets, logits.shape[1])).norm(dim=1)
        of_label = logits.gather(1, targets[:, None]).squeeze(1)
        others = logits.scatter(1, targets[:, None], -torch.inf).amax(1)
        found = uncertainty(logits) | {
            "el2n": error,
            "aum": others - of_label,
            "right": logits.argmax(1) == targets,
        }
    # The last layer's gradient is the outer product of the error and the embedding, the bias's is the error.
    gradient = error * (embeddings.square().sum(1) + 1).sqrt()
    return found | {
        "loss": proxy.losses_of(logits, targets),
        "grand": gradient,
        "tracin": gradient.square(),
        "embeddings": embeddings,
    }


def out_of_fold(inputs: Tensor, labels: Tensor, context: Context, epochs: int, folds: int = FOLDS) -> Tensor:
    """Logits (n, outputs) of each sample from a proxy that did not train on it.

    Args:
        inputs: (n, *shape) float32, n at least 2.
        labels: (n,).
        context: the trial.
        epochs: of each proxy.
        folds: at least 2; each proxy trains on all but one of them.
    """
    targets = proxy.targets_of(labels)
    order = torch.randperm(len(inputs), generator=context.generator("folds"))
    logits = torch.empty(len(inputs), context.outputs)
    for fold, held in enumerate(order.tensor_split(min(folds, len(inputs)))):
        rest = torch.ones(len(inputs), dtype=torch.bool)
        rest[held] = False
        *_, trained = proxy.train(inputs[rest], targets[rest], context, epochs, "fold", fold)
        logits[held] = torch.cat([part for part, _ in proxy.outputs_of(trained, inputs[held])])
    return logits
