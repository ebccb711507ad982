"""RHO-LOSS."""

from typing import Self

import torch
from pydantic import Field
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection import proxy
from comptroller_trainer.selection.base import Selection, Selector, remembered
from comptroller_trainer.selection.signals import ProxyParameters, out_of_fold
from comptroller_trainer.stages.base import Context

_FEWEST, _MOST = 2, 64
"""Candidates for each sample trained on."""


class RhoLossParameters(ProxyParameters):
    """`data.*` of `rho_loss`."""

    keep: float = Field(
        0.25, gt=0, le=1, description="Fraction of the samples trained on in an epoch, 0 to 1."
    )
    of: int = Field(
        0, ge=0, le=_MOST, description="Candidates for each sample trained on; 0: 1 / keep, rounded, 2 to 64."
    )


class RhoLoss(Selector[RhoLossParameters]):
    """`rho_loss`: of each step's candidates, those with the highest reducible loss (Mindermann et al., 2022).

    Reducible is the model's loss less the irreducible one, which two proxies give that each trained on one
    half and score the other (the paper's way without a holdout set). An epoch's candidates are looked at
    once, forward only; with `keep` above 1 / `of` some of them twice.
    """

    Parameters = RhoLossParameters
    name = "rho_loss"
    varies = True
    picks = True
    classifies = True  # a number's loss depends on its unit, and the proxy has its own

    def fit(self, samples: Samples, context: Context) -> Self:
        self._check(context)

        def irreducible() -> dict[str, Tensor]:
            if len(samples) < 2:  # noqa: PLR2004 - one for each fold
                return {"loss": torch.zeros(len(samples))}
            inputs, labels = proxy.shrunk(samples), samples.labels.cpu()
            logits = out_of_fold(inputs, labels, context, self.parameters.proxy_epochs, folds=2)
            return {"loss": proxy.losses_of(logits, labels)}

        found, self.cost_seconds_ = remembered(context, "irreducible", irreducible)
        self.irreducible_ = found["loss"]
        self.scores_ = -self.irreducible_
        self._context = context
        return self

    @property
    def candidates(self) -> int:
        return self.parameters.of or max(_FEWEST, min(_MOST, round(1 / self.parameters.keep)))

    def select(self, epoch: int) -> Selection:
        size = len(self.irreducible_)
        wanted = self.parameters.count(size) * self.candidates
        passes = [
            torch.randperm(size, generator=self._context.generator("select", epoch, number))
            for number in range(-(-wanted // size))
        ]
        return Selection(torch.cat(passes)[:wanted].sort().values)

    def pick(self, index: Tensor, losses: Tensor, count: int) -> Tensor:
        self.irreducible_ = self.irreducible_.to(losses.device)
        reducible = losses - self.irreducible_[index.to(losses.device)]
        return reducible.argsort(descending=True, stable=True)[:count].sort().values
