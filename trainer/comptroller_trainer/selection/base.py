"""The interface of selectors."""

import time
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from comptroller_trainer.data.samples import Samples
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.stages.base import Context, Parameters, Stage

KEEP = "Fraction of the training samples in an epoch, 0 to 1."


class SelectorParameters(Parameters):
    """`data.*` of every selector."""

    keep: float = Field(1.0, gt=0, le=1, description=KEEP)

    def count(self, samples: int) -> int:
        """Return the number of `samples` that are kept: at least one."""
        return max(1, round(self.keep * samples))


S = TypeVar("S", bound=SelectorParameters)


@dataclass(frozen=True, slots=True)
class Selection:
    """The samples of an epoch; the loop shuffles them."""

    indices: Tensor
    """(k,) int64 into the training split, on the CPU; only resampling repeats one."""
    weights: Tensor | None = None
    """(k,) float32, the weight of each sample's loss in the mean over a batch; None: all 1."""


class PseudoLabels(NamedTuple):
    """Pseudo-labels: labels that were made, not read."""

    indices: Tensor
    """(k,) int64 into the training split."""
    labels: Tensor
    """(k,) int64, in place of the samples' own."""


class Selector(Stage[S]):
    """Chooses training samples, once or again for each epoch.

    An epoch of any size counts as one, so `keep` is the cost of an epoch. Selectors do not see validation.

    Contract, which `comptroller_trainer.testing.selectors` checks:

    - `fit` comes first, in each attempt. Slow work goes through `context.remember`, so that a resumed
      attempt reads the result back.
    - `select(epoch)` is a function of the epoch, the seed, the fit and, where `watches`, of what was
      observed. It is called once at the start of an epoch and changes nothing.
    - every draw comes from `context.generator`: same seed, same indices.
    - `load_state_dict(state_dict())` after the same `fit` gives a selector that continues exactly like it.
    """

    Parameters = SelectorParameters
    name = ""
    """The name of the entry point."""
    varies = False
    """True if epochs differ."""
    watches: ClassVar[bool] = False
    """True if `select` depends on the losses that `observe` got."""
    paced: ClassVar[bool] = False
    """True if `select` depends on the share of the trial that is behind."""
    buys: ClassVar[bool] = False
    """True if labels of samples that are left out are unknown."""
    picks: ClassVar[bool] = False
    """True if steps have candidates."""
    scores_: Tensor | None = None
    """(n,) float32, the highest kept first; None without scores."""
    pseudo_labels_: PseudoLabels | None = None
    """Pseudo-labels; None: samples keep their own labels."""
    cost_seconds_: float = 0.0
    """Seconds of the fit, in the attempt that did the work."""

    @abstractmethod
    def fit(self, samples: Samples, context: Context) -> Self:
        """Learn from the training split what to keep; the cost is billed to this trial (P7).

        Raises:
            AssignmentError: the selector has no meaning for this task.
        """

    @abstractmethod
    def select(self, epoch: int) -> Selection:
        """Return the samples of `epoch` (from 0)."""

    @property
    def candidates(self) -> int:
        """Samples drawn for a step, as a multiple of the batch size, of which `pick` leaves one batch."""
        return 1

    def pick(self, index: Tensor, losses: Tensor, count: int) -> Tensor:
        """Return the candidates of a step to train on: positions (count,) int64, on the device of `losses`.

        Args:
            index: (m,) int64, the candidates' places in the training split.
            losses: (m,) float32, the candidates' under the current model, unweighted.
            count: at most m.
        """
        del index
        return torch.arange(count, device=losses.device)

    def observe(self, index: Tensor, losses: Tensor) -> None:
        """Take in a step: places (b,) int64 and unweighted losses (b,) float32, detached."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return all observations that `select` depends on."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the state that `state_dict` gave."""
        del state

    def _check(self, context: Context) -> None:
        if self.classifies and not context.classes:
            raise AssignmentError("data.selector", self.name, "needs classes, and the task is regression")


def remembered(
    context: Context, name: str, make: Callable[[], dict[str, Tensor]]
) -> tuple[dict[str, Tensor], float]:
    """Return the result of `make`, computed once in this trial, and the seconds that this took."""

    def timed() -> dict[str, Tensor]:
        began = time.perf_counter()
        made = make()
        return made | {"seconds": torch.tensor(time.perf_counter() - began, dtype=torch.float64)}

    found = context.remember(name, timed)
    return found, float(found["seconds"])


def best(scores: Tensor, count: int) -> Tensor:
    """Return the places of the `count` highest scores, ascending (count,); of equal ones the first."""
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def drawn(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Return `count` of 0 to `size`-1, uniformly, without repeats, ascending."""
    return torch.randperm(size, generator=generator)[:count].sort().values
