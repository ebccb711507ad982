"""What a compressor is: it may change the trained module, and it may change the exported graph."""

from pathlib import Path
from typing import Self

from torch import nn

from comptroller_trainer.data.samples import Dataset
from comptroller_trainer.stages import Context, P, Stage


class Compressor(Stage[P]):
    """Works in two steps, either of which may do nothing.

    Pruning and its like change the module; post-training quantization changes the graph.
    """

    model_: nn.Module

    def fit(self, model: nn.Module, dataset: Dataset, context: Context) -> Self:
        """Learn from the training split, and leave the module to export in `model_`.

        Args:
            model: trained, in eval mode; may be changed in place.
            dataset: calibration and fine-tuning use its training split only.
            context: the trial.
        """
        del dataset, context
        self.model_ = model
        return self

    def finish(self, graph: Path, context: Context) -> Path:
        """The ONNX file to ship, given `graph`, the export of `model_`."""
        del context
        return graph
