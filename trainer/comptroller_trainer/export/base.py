"""The interface of exporters, which write the model in one more form and read it again."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from comptroller_trainer.stages.base import Context


class Exporter(ABC):
    """One form of the model next to ONNX. An exporter has no parameters; `recipe.exports` names it."""

    holds_graph: ClassVar[bool] = False
    """True if the form contains the shipped ONNX file; false if it contains the module, in fp32."""

    def check(self) -> None:  # noqa: B027 - most need nothing
        """Check that the exporter can work here, before any data are read.

        Raises:
            AssignmentError: this image lacks what it needs.
        """

    @abstractmethod
    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        """Write a new file, or a directory of files, in `context.directory`; it is shipped under its name.

        Args:
            model: the shipped model as a module: in eval mode, on the CPU, not to be changed. It takes
                float32 (n, *context.shape), any n, and gives (n, context.outputs).
            graph: the shipped model as an ONNX file.
            context: the trial.
        """

    @abstractmethod
    def read(self, path: Path) -> Callable[[Tensor], Tensor]:
        """Return the model that `write` wrote, as a function from inputs to outputs."""
