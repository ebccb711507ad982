"""Easy samples first."""

from typing import Literal, Self

from pydantic import Field
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection import proxy
from comptroller_trainer.selection.base import Selection, Selector, drawn, remembered
from comptroller_trainer.selection.signals import ProxyParameters, signals
from comptroller_trainer.stages.base import Context


class CurriculumParameters(ProxyParameters):
    """`data.*` of `curriculum`."""

    start: float = Field(
        0.3, gt=0, le=1, description="Fraction of the samples, the first in order, at first."
    )
    ramp: float = Field(0.5, gt=0, le=1, description="Share of the last rung's epochs until all are there.")
    order: Literal["easy_first", "hard_first"] = Field("easy_first", description="By the proxy's loss.")


class Curriculum(Selector[CurriculumParameters]):
    """`curriculum`: a pool that grows from the easiest samples to all (Bengio et al., 2009).

    Linear pacing (Wu et al., 2021). Each epoch takes a fresh random part of the pool, `keep` of all samples
    or the whole pool where that is smaller, so that early epochs cost less.
    """

    Parameters = CurriculumParameters
    name = "curriculum"
    varies = True
    paced = True

    def fit(self, samples: Samples, context: Context) -> Self:
        def loss() -> dict[str, Tensor]:
            inputs = proxy.shrunk(samples)
            epochs = self.parameters.proxy_epochs
            return {"loss": signals(inputs, samples.labels, context, epochs)["loss"]}

        found, self.cost_seconds_ = remembered(context, "curriculum", loss)
        self.scores_ = -found["loss"] if self.parameters.order == "easy_first" else found["loss"]
        self._order = self.scores_.argsort(descending=True, stable=True)
        self._context = context
        return self

    def select(self, epoch: int) -> Selection:
        p, size = self.parameters, len(self._order)
        progress = min(1.0, epoch / (p.ramp * self._context.total_epochs))
        pool = max(1, round(size * (p.start + (1 - p.start) * progress)))
        chosen = drawn(min(p.count(size), pool), pool, self._context.generator("select", epoch))
        return Selection(self._order[chosen].sort().values)
