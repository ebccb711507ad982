"""What an exporter is: it writes the model in one more form, and reads it again."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from torch import Tensor, nn

from comptroller_trainer.stages.base import Context


class Exporter(ABC):
    """One form of the model beside ONNX. It has no parameters; `recipe.exports` names it."""

    holds_graph: ClassVar[bool] = False
    """Whether it holds the ONNX file that is shipped; False: the module, whose numbers are fp32."""

    def check(self) -> None:  # noqa: B027  # most need nothing
        """Whether it can work here, before any data are read.

        Raises:
            AssignmentError: this image lacks what it needs.
        """

    @abstractmethod
    def write(self, model: nn.Module, graph: Path, context: Context) -> Path:
        """A new file, or a directory of files, in `context.directory`; shipped under its name.

        Args:
            model: what is shipped, as a module: in eval mode, on the CPU, not to be changed. It takes
                float32 (n, *context.shape), any n, and gives (n, context.outputs).
            graph: what is shipped, as an ONNX file.
            context: the trial.
        """

    @abstractmethod
    def read(self, path: Path) -> Callable[[Tensor], Tensor]:
        """The model in what `write` wrote, from inputs to outputs."""
