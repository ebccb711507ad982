"""The base of selectors that choose once."""

from abc import abstractmethod
from typing import Self, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection import noise, proxy
from comptroller_trainer.selection.base import PseudoLabels, Selection, Selector, remembered
from comptroller_trainer.selection.signals import ProxyParameters, signals
from comptroller_trainer.stages.base import Context

CLEAN = "Leave out first what `denoise` would (true, false)."


class StaticParameters(ProxyParameters):
    """`data.*` of the selectors that choose once, by a proxy."""

    clean: bool = Field(default=False, description=CLEAN)


P = TypeVar("P", bound=StaticParameters)


class StaticSelector(Selector[P]):
    """Chooses one subset for the whole trial.

    Attributes:
        indices_: (k,) int64, ascending.
    """

    def fit(self, samples: Samples, context: Context) -> Self:
        self._check(context)
        if self.parameters.clean:
            noise.check(self.name, context)
        found, self.cost_seconds_ = remembered(context, "selection", lambda: self._fit(samples, context))
        self.indices_, self.scores_ = found["indices"], found.get("scores")
        if "taught" in found:
            self.pseudo_labels_ = PseudoLabels(found["taught"], found["labels"])
        return self

    def select(self, epoch: int) -> Selection:
        del epoch
        return Selection(self.indices_)

    def _fit(self, samples: Samples, context: Context) -> dict[str, Tensor]:
        inputs, labels = proxy.shrunk(samples), samples.labels.cpu()
        pool = torch.arange(len(samples))
        if self.parameters.clean:
            issues, _ = noise.issues(inputs, labels, context, self.parameters.proxy_epochs)
            pool = pool[~issues]
            inputs, labels = inputs[pool], labels[pool]
        count = min(self.parameters.count(len(samples)), len(pool))
        chosen, scores = self._choose(inputs, labels, count, context)
        found = {"indices": pool[chosen].sort().values}
        if scores is not None:
            # Samples that were left out come after all others.
            found["scores"] = torch.full((len(samples),), -torch.inf).index_copy(0, pool, scores.float())
        return found

    @abstractmethod
    def _choose(
        self, inputs: Tensor, labels: Tensor, count: int, context: Context
    ) -> tuple[Tensor, Tensor | None]:
        """Return positions, at most `count`, and scores (n,) if there are any.

        Args:
            inputs: (n, *shape) float32, of `proxy.shrunk`.
            labels: (n,).
            count: 1 to n.
            context: the trial.
        """

    def _signals(self, inputs: Tensor, labels: Tensor, context: Context) -> dict[str, Tensor]:
        return signals(inputs, labels, context, self.parameters.proxy_epochs)
