"""Several compressors, one after the other."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from torch import nn

from comptroller_api.metrics import Metric
from comptroller_api.trainer import disorder
from comptroller_trainer.compression.base import Compressor
from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.measure.gain import Must
from comptroller_trainer.models.adapters import merge
from comptroller_trainer.stages.base import Context, Parameters

FIELD = "compress.method"


def pipeline(name: str, steps: Sequence[Compressor[Any]]) -> Compressor[Any]:
    """The compressor that `compress.method` names by `name`."""
    return steps[0] if len(steps) == 1 and steps[0].place == "alone" else Pipeline(name, steps)


class Pipeline(Compressor[Parameters]):
    """`a+b`: first `a`, then `b` on the result of `a`.

    Raises:
        AssignmentError: in this order the second would undo the first, or cannot work on its result.
    """

    def __init__(self, name: str, steps: Sequence[Compressor[Any]]) -> None:
        super().__init__(Parameters())
        self._steps = list(steps)
        if (rule := disorder(name, [(step.place, step.wants) for step in steps])) is not None:
            raise AssignmentError(FIELD, name, rule)

    @property
    def must(self) -> Must:
        required: list[Must] = [step.must for step in self._steps if step.must != "anything"]
        return required[0] if required else "anything"

    @property
    def measured(self) -> tuple[Metric, ...]:
        return tuple(row for step in self._steps for row in step.measured)

    @property
    def changes_graph(self) -> bool:
        return any(step.changes_graph for step in self._steps)

    def check(self, model: nn.Module, context: Context) -> None:
        for step in self._steps:
            step.check(model, context)

    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        parent = copy.deepcopy(model) if any(step.needs_parent for step in self._steps) else model
        for step in self._steps:
            step.parent_ = parent
            model = step.fit(model, dataset, context).model_
        self.model_ = merge(model)
        return self

    def finish(self, graph: Path, context: Context) -> Path:
        for step in self._steps:
            graph = step.finish(graph, context)
        return graph

    def metrics(self, graph: Path) -> dict[str, float]:
        return {name: value for step in self._steps for name, value in step.metrics(graph).items()}
