"""Classes of unequal size: `balanced` resampling, and synthetic samples for tables."""

from typing import NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor

from comptroller_trainer import seeds
from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.selection.base import Selection, Selector, SelectorParameters
from comptroller_trainer.selection.strata import proportional
from comptroller_trainer.stages.base import Context

_NEIGHBOURS = 5
"""Neighbours of SMOTE, as published."""


class BalancedParameters(SelectorParameters):
    """`data.*` of `balanced`."""

    balance: float = Field(1.0, ge=0, le=1, description="0: classes as they are; 1: all of one size.")


class Balanced(Selector[BalancedParameters]):
    """`balanced`: resampling, fresh each epoch: small classes are repeated, large ones thinned out.

    A class has a share of the epoch in proportion to its size to the power of 1 - `balance` (Mahajan et al.,
    2018, at a half).
    """

    Parameters = BalancedParameters
    name = "balanced"
    varies = True
    classifies = True

    def fit(self, samples: Samples, context: Context) -> Self:
        self._check(context)
        self._labels = samples.labels.cpu()
        self._context = context
        return self

    def select(self, epoch: int) -> Selection:
        sizes = self._labels.bincount()
        shares = torch.where(sizes > 0, sizes.double() ** (1 - self.parameters.balance), 0.0)
        quotas = proportional(shares, self.parameters.count(len(self._labels)))
        order = torch.randperm(len(self._labels), generator=self._context.generator("select", epoch))
        found = []
        for label in quotas.nonzero().flatten().tolist():
            members = order[self._labels[order] == label]
            quota = int(quotas[label])
            found.append(members.repeat(-(-quota // len(members)))[:quota])
        return Selection(torch.cat(found).sort().values)


class Oversampled(NamedTuple):
    """The result of `oversample`."""

    samples: Samples
    """The given samples first, unchanged and in their order."""
    synthetic: Tensor
    """(n + m,) bool."""


def oversample(samples: Samples, context: Context) -> Oversampled:
    """Return tables with every class as large as the largest, by SMOTE (Chawla et al., 2002).

    A class with a single sample has no neighbour to interpolate with, and is left as it is.

    Raises:
        AssignmentError: the samples are not a table.
    """
    if len(context.shape) != 1:
        raise AssignmentError("recipe.oversample", "smote", "needs a table")
    from imblearn.over_sampling import SMOTE  # noqa: PLC0415 - seconds that most trials do not need

    labels = samples.labels.cpu()
    sizes = labels.bincount()
    largest = int(sizes.max())
    wanted = {label: largest for label, size in enumerate(sizes.tolist()) if 1 < size < largest}
    inputs = samples.inputs.cpu().float()
    if wanted:
        neighbours = min(_NEIGHBOURS, min(int(sizes[label]) for label in wanted) - 1)
        seed = seeds.derive(context.seed, "oversample") % 2**32
        smote = SMOTE(sampling_strategy=wanted, k_neighbors=neighbours, random_state=seed)
        made, named = smote.fit_resample(inputs.numpy(), labels.numpy())
        inputs, labels = torch.from_numpy(made).float(), torch.from_numpy(named)
    return Oversampled(Samples(inputs, labels), torch.arange(len(labels)) >= len(samples))
