"""Selectors that keep every part of the data represented."""

from typing import Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection.base import Selection, Selector, SelectorParameters, best
from comptroller_trainer.selection.static import StaticParameters, StaticSelector
from comptroller_trainer.stages.base import Context

_QUANTILES = 10
"""Strata of a regression's targets."""


class Stratified(Selector[SelectorParameters]):
    """`stratified`: one random subset with the share of each class kept (regression: of each tenth)."""

    name = "stratified"

    def fit(self, samples: Samples, context: Context) -> Self:
        strata = strata_of(samples.labels.cpu())
        quotas = proportional(strata.bincount(), self.parameters.count(len(samples)))
        self.indices_ = drawn_from(strata, quotas, context.generator("select"))
        return self

    def select(self, epoch: int) -> Selection:
        del epoch
        return Selection(self.indices_)


class CcsParameters(StaticParameters):
    """`data.*` of `ccs`."""

    beta: float = Field(
        0.05, ge=0, lt=1,
        description="Fraction of all samples, the hardest, left out first; less where keep needs them.",
    )  # fmt: skip
    bins: int = Field(50, ge=1, le=10_000, description="Of equal width over the score of those left.")
    score: Literal["aum", "el2n", "forgetting", "grand", "loss"] = Field("el2n", description="Hardness.")
    within: Literal["classes", "all"] = Field(
        "classes", description="What beta and bins are of: each class, which keeps its share, or all samples."
    )


class Ccs(StaticSelector[CcsParameters]):
    """`ccs`: coverage-centric selection (Zheng et al., 2023).

    The hardest `beta` go, since they are often mislabelled; the budget is then spread evenly over bins of the
    score, what a small bin cannot use going to the larger ones. The paper does so over all samples; within
    classes, an easy one does not come to be most of what is kept.
    """

    Parameters = CcsParameters
    name = "ccs"
    classifies = True

    def _choose(self, inputs: Tensor, labels: Tensor, count: int, context: Context) -> tuple[Tensor, Tensor]:
        p = self.parameters
        hardness = self._signals(inputs, labels, context)[p.score]
        groups = labels if p.within == "classes" else torch.zeros(len(labels), dtype=torch.int64)
        quotas = proportional(groups.bincount(), count)
        generator = context.generator("select")
        kept = []
        for group, quota in enumerate(quotas.tolist()):
            places = (groups == group).nonzero().squeeze(1)
            if quota:
                kept.append(places[self._covering(hardness[places], quota, generator)])
        return torch.cat(kept), -hardness

    def _covering(self, hardness: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Return places (count,) of values (n,), n at least `count`."""
        p = self.parameters
        pool = best(-hardness, max(count, len(hardness) - round(p.beta * len(hardness))))
        values = hardness[pool]
        width = (values.max() - values.min()).clamp_min(torch.finfo(values.dtype).tiny)
        bins = ((values - values.min()) / width * p.bins).long().clamp_max(p.bins - 1)
        return pool[drawn_from(bins, even(bins.bincount(minlength=p.bins), count), generator)]


def strata_of(labels: Tensor) -> Tensor:
    """Return codes (n,) int64 from 0: the class, or the tenth of the targets' distribution."""
    if not labels.is_floating_point():
        return labels
    rank = torch.empty(len(labels), dtype=torch.int64)
    rank[labels.argsort(stable=True)] = torch.arange(len(labels))
    return rank * _QUANTILES // len(labels)


def proportional(sizes: Tensor, count: int) -> Tensor:
    """Return whole quotas that sum to `count`, as near to shares of `sizes` as can be (largest remainder).

    Args:
        sizes: (s,), more than zero in all, of any number type.
        count: to be shared.
    """
    exact = sizes.double() * count / sizes.sum()
    quotas = exact.floor().long()
    remainders = (exact - quotas).argsort(descending=True, stable=True)
    quotas[remainders[: count - int(quotas.sum())]] += 1
    return quotas


def even(sizes: Tensor, count: int) -> Tensor:
    """Return quotas that sum to `count`, as even as `sizes` (s,) int64, their upper bounds, allow."""
    quotas = torch.zeros_like(sizes)
    left = count
    order = sizes.argsort(stable=True).tolist()
    for place, stratum in enumerate(order):
        quotas[stratum] = min(int(sizes[stratum]), left // (len(order) - place))
        left -= int(quotas[stratum])
    return quotas


def drawn_from(strata: Tensor, quotas: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a quota of each stratum without replacement: ascending places, int64.

    Args:
        strata: (n,) int64.
        quotas: (s,) int64, at most the strata's sizes.
        generator: of the draw.
    """
    order = torch.randperm(len(strata), generator=generator)
    order = order[strata[order].argsort(stable=True)]  # stratum by stratum, each in random order
    sizes = strata.bincount(minlength=len(quotas))
    rank = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[strata[order]]
    return order[rank < quotas[strata[order]]].sort().values
