"""Uniform subsets: the two baselines that any clever selector has to beat at equal spend."""

from typing import Self

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection.base import Selection, Selector, SelectorParameters, drawn
from comptroller_trainer.stages.base import Context


class Uniform(Selector[SelectorParameters]):
    """`random`: one uniform subset for the whole trial."""

    name = "random"

    def fit(self, samples: Samples, context: Context) -> Self:
        self.indices_ = drawn(self.parameters.count(len(samples)), len(samples), context.generator("select"))
        return self

    def select(self, epoch: int) -> Selection:
        del epoch
        return Selection(self.indices_)


class FreshUniform(Selector[SelectorParameters]):
    """`rs2`: repeated sampling of random subsets, a fresh one for each epoch (Okanovic et al., 2023).

    With replacement between epochs, the paper's simpler variant.
    """

    name = "rs2"
    varies = True

    def fit(self, samples: Samples, context: Context) -> Self:
        self.samples_ = len(samples)
        self._context = context
        return self

    def select(self, epoch: int) -> Selection:
        count = self.parameters.count(self.samples_)
        return Selection(drawn(count, self.samples_, self._context.generator("select", epoch)))
