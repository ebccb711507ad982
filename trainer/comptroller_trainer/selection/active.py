"""Active learning: buy the labels that help most."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection import proxy
from comptroller_trainer.selection.base import best, drawn
from comptroller_trainer.selection.signals import uncertainty
from comptroller_trainer.selection.static import CLEAN, StaticParameters, StaticSelector
from comptroller_trainer.stages.base import Context, only


class ActiveParameters(StaticParameters):
    """`data.*` of `active`."""

    keep: float = Field(
        0.1, gt=0, le=1, description="Fraction of the samples whose labels are bought, 0 to 1."
    )
    rounds: int = Field(4, ge=1, le=100, description="Of buying an equal part; the first is random.")
    acquire: Literal["margin", "entropy", "least_confidence", "k_center"] = Field(
        "margin", description="What is bought next: the least certain, or the farthest from all bought."
    )

    pseudo: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Confidence from which samples are added with the label a proxy gives them; 0: none.",
    )

    clean: bool = Field(
        default=False, description=CLEAN,
        json_schema_extra=only(
            value=False,
            otherwise="contradicts data.selector active, which does not read the labels it has not bought",
        ),
    )  # fmt: skip


class Active(StaticSelector[ActiveParameters]):
    """`active`: pool-based active learning (Settles, 2009); labels that were not bought are not read.

    In each round a proxy trains on the labels bought and chooses the next ones to buy. In the end a proxy may
    label the samples that it is sure of: pseudo-labels (Lee, 2013).
    """

    Parameters = ActiveParameters
    name = "active"
    classifies = True
    buys = True

    def _fit(self, samples: Samples, context: Context) -> dict[str, Tensor]:
        found = super()._fit(samples, context)
        if not self.parameters.pseudo:
            return found
        inputs, bought = proxy.shrunk(samples), found["indices"]
        labels = samples.labels.cpu()[bought]
        *_, trained = proxy.train(inputs[bought], labels, context, self.parameters.proxy_epochs, "pseudo")
        logits = torch.cat([logits for logits, _ in proxy.outputs_of(trained, inputs)])
        confidence, predicted = logits.softmax(1).max(1)
        pseudo = confidence.index_fill(0, bought, 0.0).ge(self.parameters.pseudo).nonzero().flatten()
        indices = torch.cat([bought, pseudo]).sort().values
        return found | {"indices": indices, "taught": pseudo, "labels": predicted[pseudo]}

    def _choose(self, inputs: Tensor, labels: Tensor, count: int, context: Context) -> tuple[Tensor, None]:
        p, size = self.parameters, len(labels)
        bought = torch.zeros(size, dtype=torch.bool)
        bought[drawn(-(-count // p.rounds), size, context.generator("select"))] = True
        for number in range(1, p.rounds):
            wanted = -(-count * (number + 1) // p.rounds) - int(bought.sum())
            if not wanted:
                continue
            *_, trained = proxy.train(
                inputs[bought], labels[bought], context, p.proxy_epochs, "active", number
            )
            outputs = list(proxy.outputs_of(trained, inputs))
            if p.acquire == "k_center":
                bought[_farthest(torch.cat([e for _, e in outputs]), bought, wanted)] = True
            else:
                scores = uncertainty(torch.cat([logits for logits, _ in outputs]))[p.acquire]
                bought[best(scores.masked_fill(bought, -torch.inf), wanted)] = True
        return bought.nonzero().flatten(), None


def _farthest(points: Tensor, bought: Tensor, count: int) -> Tensor:
    """Return the next `count` of a greedy k-center after `bought`; takes n (bought + count) distances."""
    nearest = torch.full((len(points),), torch.inf)
    for part in torch.split(points[bought], 256):
        nearest = torch.minimum(nearest, torch.cdist(points, part).amin(1))
    nearest[bought] = -torch.inf
    found = []
    for _ in range(count):
        place = nearest.argmax()
        found.append(place)
        nearest = torch.minimum(nearest, (points - points[place]).norm(dim=1))
        nearest[place] = -torch.inf
    return torch.stack(found)
