"""All samples."""

from typing import Self

import torch
from pydantic import Field

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection.base import KEEP, Selection, Selector, SelectorParameters
from comptroller_trainer.stages.base import Context, only


class AllSamplesParameters(SelectorParameters):
    """`data.*` of `all`."""

    keep: float = Field(
        1.0, gt=0, le=1, description=KEEP,
        json_schema_extra=only(1.0, "contradicts data.selector all; leave it out, or give it a `when`"),
    )  # fmt: skip


class AllSamples(Selector[AllSamplesParameters]):
    """`all`: every sample in every epoch."""

    Parameters = AllSamplesParameters
    name = "all"

    def fit(self, samples: Samples, context: Context) -> Self:
        del context
        self.indices_ = torch.arange(len(samples))
        return self

    def select(self, epoch: int) -> Selection:
        del epoch
        return Selection(self.indices_)
