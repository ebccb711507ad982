"""Selectors that keep the samples with the highest scores of one signal."""

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from comptroller_trainer.selection.base import best
from comptroller_trainer.selection.static import StaticParameters, StaticSelector
from comptroller_trainer.stages.base import Context


class ScoredParameters(StaticParameters):
    """`data.*` of the selectors by score."""

    end: Literal["hard", "easy"] = Field("hard", description="Which end of the score is kept.")


class ScoredSelector(StaticSelector[ScoredParameters]):
    """Keeps one end of a signal of the proxy."""

    Parameters = ScoredParameters
    classifies = True
    signal: ClassVar[str]
    """One of `signals.signals`."""

    def _choose(self, inputs: Tensor, labels: Tensor, count: int, context: Context) -> tuple[Tensor, Tensor]:
        hardness = self._signals(inputs, labels, context)[self.signal]
        scores = hardness if self.parameters.end == "hard" else -hardness
        return best(scores, count), scores


class El2n(ScoredSelector):
    """`el2n`: the error's norm early in training (Paul et al., 2021)."""

    name = signal = "el2n"


class Grand(ScoredSelector):
    """`grand`: the gradient's norm early in training (Paul et al., 2021), of the last layer alone."""

    name = signal = "grand"
    classifies = False


class TracIn(ScoredSelector):
    """`tracin`: influence on itself, by the last layer's gradients over checkpoints (Pruthi et al., 2020)."""

    name = signal = "tracin"
    classifies = False


class Forgetting(ScoredSelector):
    """`forgetting`: how often a sample became wrong after right (Toneva et al., 2019)."""

    name = signal = "forgetting"


class Aum(ScoredSelector):
    """`aum`: area under the label's margin over the next class (Pleiss et al., 2020)."""

    name = signal = "aum"


class Margin(ScoredSelector):
    """`margin`: the gap between the two likeliest classes; small is hard (Scheffer et al., 2001)."""

    name = signal = "margin"


class Entropy(ScoredSelector):
    """`entropy`: of the predicted classes (Shannon's, as in Settles, 2009)."""

    name = signal = "entropy"


class LeastConfidence(ScoredSelector):
    """`least_confidence`: what the likeliest class leaves (Lewis and Gale, 1994)."""

    name = signal = "least_confidence"
