"""Dynamic selectors that follow each sample's loss while the model trains."""

import math
from typing import Self, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection.base import Selection, Selector, SelectorParameters, drawn
from comptroller_trainer.stages.base import Context

P = TypeVar("P", bound=SelectorParameters)


class Watcher(Selector[P]):
    """Keeps the latest loss that training saw of each sample; those not seen yet have none (nan)."""

    varies = True
    watches = True

    def fit(self, samples: Samples, context: Context) -> Self:
        self._check(context)
        self._losses = torch.full((len(samples),), torch.nan)
        self._context = context
        return self

    def observe(self, index: Tensor, losses: Tensor) -> None:
        # The losses are on the model's device, so that no step waits for a copy.
        self._losses = self._losses.to(losses.device)
        self._losses[index.to(losses.device)] = losses.float()

    def state_dict(self) -> dict[str, Tensor]:
        return {"losses": self._losses}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._losses = state["losses"].clone()

    def _known(self, otherwise: float | None = None) -> Tensor:
        """Return losses (n,) float64 on the CPU; unseen samples get `otherwise`, or else the mean."""
        losses = self._losses.cpu().double()
        if otherwise is None:
            otherwise = float(losses.nanmean().nan_to_num(1.0))
        return losses.nan_to_num(otherwise, posinf=torch.inf)


class InfoBatchParameters(SelectorParameters):
    """`data.*` of `infobatch`."""

    keep: float = Field(
        0.6,
        gt=0,
        le=1,
        description="Fraction of the training samples in an epoch, the last ones apart, 0 to 1.",
    )
    anneal: float = Field(
        0.125,
        ge=0,
        le=1,
        description="Share of the last rung's epochs, its end, that see all samples, 0 to 1.",
    )


class InfoBatch(Watcher[InfoBatchParameters]):
    """`infobatch`: easy samples are dropped at random, the easy ones left count for those (Qin et al., 2024).

    Losses below the mean are easy, as in the paper. The rate of dropping follows from `keep`: each epoch has
    exactly that size, also the first, for which no loss is known; if `keep` is so small that more than 9 in
    10 easy samples would be dropped, the next losses count as easy too (below 0.1 all do). Gradients stay
    those of all samples in expectation.
    """

    Parameters = InfoBatchParameters
    name = "infobatch"
    _most = 0.9
    """Share of easy samples that is dropped at most, which bounds their weights by 10."""

    def select(self, epoch: int) -> Selection:
        size = len(self._losses)
        if epoch >= round(self._context.total_epochs * (1 - self.parameters.anneal)):
            return Selection(torch.arange(size))
        dropped = size - self.parameters.count(size)
        losses = self._known(otherwise=math.inf)
        below = int((losses < self._losses.nanmean().item()).sum())
        easy = min(size, max(below, math.ceil(dropped / self._most)))
        # Equal losses are ordered at random; at first all are equal.
        shuffled = torch.randperm(size, generator=self._context.generator("select", epoch))
        order = shuffled[losses[shuffled].argsort(stable=True)]
        stay = drawn(easy - dropped, easy, self._context.generator("stay", epoch))
        weights = torch.ones(size)
        if len(stay):
            weights[order[:easy]] = easy / len(stay)
        indices = torch.cat([order[:easy][stay], order[easy:]]).sort().values
        return Selection(indices, weights[indices])


class ImportanceParameters(SelectorParameters):
    """`data.*` of `importance`."""

    keep: float = Field(0.5, gt=0, le=1, description="Fraction of the training samples in an epoch, 0 to 1.")
    uniform: float = Field(
        0.3,
        gt=0,
        le=1,
        description="Share of the draw that is uniform; it bounds weights by its inverse, 0 to 1.",
    )


class Importance(Watcher[ImportanceParameters]):
    """`importance`: samples are drawn in proportion to their loss, weights make up for it.

    This follows Katharopoulos and Fleuret (2018), with the latest loss in training in place of a bound of the
    gradient, which would cost another pass. Sampling is systematic: exact size, none twice, and the weighted
    loss has the mean of all samples as its expectation.
    """

    Parameters = ImportanceParameters
    name = "importance"

    def select(self, epoch: int) -> Selection:
        losses, share = self._known(), self.parameters.uniform
        size, count = len(losses), self.parameters.count(len(losses))
        mean = losses.mean()
        scores = share + (1 - share) * (losses / mean if mean > 0 else torch.ones_like(losses))
        inclusion = inclusion_probabilities(scores, count)
        generator = self._context.generator("select", epoch)
        order = torch.randperm(size, generator=generator)
        start = torch.rand((), generator=generator, dtype=torch.float64)
        marks = (inclusion[order].cumsum(0) + start).floor()
        chosen = torch.diff(marks, prepend=torch.zeros(1, dtype=torch.float64)) > 0
        indices = order[chosen].sort().values
        return Selection(indices, (count / size / inclusion[indices]).float())


def inclusion_probabilities(scores: Tensor, count: int) -> Tensor:
    """Return probabilities (n,) of being among `count`, in proportion to `scores` unless certain.

    Args:
        scores: (n,) float64, more than zero.
        count: 1 to n.
    """
    found = scores * (count / scores.sum())
    certain = found >= 1
    while bool((found > 1).any()):
        rest = scores.masked_fill(certain, 0)
        total = rest.sum()
        found = torch.where(certain, 1.0, rest * ((count - certain.sum()) / total if total > 0 else 0.0))
        certain |= found >= 1
    return found


class ReweightParameters(SelectorParameters):
    """`data.*` of `reweight`."""

    tilt: float = Field(
        0.5, ge=-2, le=2,
        description="Of weights exp(tilt loss / mean loss): above 0 for the hard, below against noise.",
    )  # fmt: skip


class Reweight(Watcher[ReweightParameters]):
    """`reweight`: tilted empirical risk (Li et al., 2021): weights by the loss seen last, on average 1.

    The tilt is in units of the mean loss, so that it means the same early and late; losses count up to five
    times the mean. Each epoch takes a fresh random `keep`.
    """

    Parameters = ReweightParameters
    name = "reweight"
    _cap = 5.0

    def select(self, epoch: int) -> Selection:
        losses = self._known()
        count = self.parameters.count(len(losses))
        indices = drawn(count, len(losses), self._context.generator("select", epoch))
        mean = losses.mean()
        relative = (losses[indices] / mean).clamp_max(self._cap) if mean > 0 else torch.zeros(count)
        weights = (self.parameters.tilt * relative).softmax(0) * count
        return Selection(indices, weights.float())
