"""`denoise`: leave out samples with wrong labels."""

from typing import Self

from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection import noise, proxy
from comptroller_trainer.selection.base import Selection, Selector, drawn, remembered
from comptroller_trainer.selection.signals import ProxyParameters
from comptroller_trainer.stages.base import Context


class Denoise(Selector[ProxyParameters]):
    """`denoise`: samples that confident learning (Northcutt et al., 2021) finds mislabelled are left out.

    Of the rest, a random `keep` of all. Scores are the labels' out-of-fold probabilities.
    """

    Parameters = ProxyParameters
    name = "denoise"
    classifies = True

    def fit(self, samples: Samples, context: Context) -> Self:
        self._check(context)

        def found() -> dict[str, Tensor]:
            inputs, labels = proxy.shrunk(samples), samples.labels.cpu()
            wrong, quality = noise.issues(inputs, labels, context, self.parameters.proxy_epochs)
            return {"wrong": wrong, "scores": quality}

        kept, self.cost_seconds_ = remembered(context, "labels", found)
        self.scores_ = kept["scores"]
        clean = (~kept["wrong"]).nonzero().flatten()
        count = min(self.parameters.count(len(samples)), len(clean))
        self.indices_ = clean[drawn(count, len(clean), context.generator("select"))]
        return self

    def select(self, epoch: int) -> Selection:
        del epoch
        return Selection(self.indices_)
