"""All samples."""

from typing import Self

import torch
from pydantic import field_validator

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.selection.base import Selection, Selector, SelectorParameters
from comptroller_trainer.stages import Context


class WholeParameters(SelectorParameters):
    """`data.*` of `all`."""

    @field_validator("keep")
    @classmethod
    def _all(cls, keep: float) -> float:
        if keep != 1:
            raise ValueError("contradicts data.selector all; leave it out, or give it a `when`")
        return keep


class Whole(Selector[WholeParameters]):
    """`all`: every sample in every epoch."""

    Parameters = WholeParameters
    name = "all"

    def fit(self, samples: Samples, context: Context) -> Self:
        del context
        self.indices_ = torch.arange(len(samples))
        return self

    def select(self, epoch: int) -> Selection:
        del epoch
        return Selection(self.indices_)
