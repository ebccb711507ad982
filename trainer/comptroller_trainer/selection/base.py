"""What a selector is."""

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
        """How many of `samples` are kept: at least one."""
        return max(1, round(self.keep * samples))


S = TypeVar("S", bound=SelectorParameters)


@dataclass(frozen=True, slots=True)
class Selection:
    """What an epoch is made of; the loop shuffles it."""

    indices: Tensor
    """(k,) int64 into the training split, on the CPU; only resampling repeats one."""
    weights: Tensor | None = None
    """(k,) float32, of each one's loss in the mean over its batch; None: all 1."""


class Taught(NamedTuple):
    """Labels that were not read but made: pseudo-labels."""

    indices: Tensor
    """(k,) int64 into the training split."""
    labels: Tensor
    """(k,) int64, in place of the samples' own."""


class Selector(Stage[S]):
    """Chooses training samples, once or anew for each epoch.

    An epoch counts as one whatever its size, so that `keep` is what an epoch costs. Validation is not seen.

    Contract, which `comptroller_trainer.testing.selectors` checks:

    - `fit` comes first, in each attempt. What is slow goes through `context.remember`, so that a resumed
      attempt reads it back.
    - `select(epoch)` is a function of the epoch, the seed, the fit and, where `watches`, of what was
      observed. It is asked once at the start of an epoch and changes nothing.
    - every draw comes from `context.generator`: same seed, same indices.
    - `load_state_dict(state_dict())` after the same `fit` gives a selector that goes on exactly as this one.
    """

    Parameters = SelectorParameters
    name = ""
    """Its entry point's."""
    varies = False
    """Whether epochs differ."""
    watches: ClassVar[bool] = False
    """Whether `select` depends on what `observe` was told."""
    paced: ClassVar[bool] = False
    """Whether `select` goes by how much of the trial is behind."""
    buys: ClassVar[bool] = False
    """Whether labels of what is left out are unknown."""
    picks: ClassVar[bool] = False
    """Whether steps have candidates."""
    scores_: Tensor | None = None
    """(n,) float32, higher: kept first; None where nothing is scored."""
    taught_: Taught | None = None
    """None: samples are trained on with the labels they have."""
    cost_seconds_: float = 0.0
    """Of the fit, in the attempt that did the work."""

    @abstractmethod
    def fit(self, samples: Samples, context: Context) -> Self:
        """Learn from the training split what to keep; what it costs is billed to this trial (P7).

        Raises:
            AssignmentError: it has no meaning for this task.
        """

    @abstractmethod
    def select(self, epoch: int) -> Selection:
        """The samples of `epoch` (from 0)."""

    @property
    def candidates(self) -> int:
        """Samples drawn for a step, as a multiple of the batch size, of which `pick` leaves one batch."""
        return 1

    def pick(self, index: Tensor, losses: Tensor, count: int) -> Tensor:
        """Those of a step's candidates to train on: positions (count,) int64, on the device of `losses`.

        Args:
            index: (m,) int64, the candidates' places in the training split.
            losses: (m,) float32, theirs under the model as it is, unweighted.
            count: at most m.
        """
        del index
        return torch.arange(count, device=losses.device)

    def observe(self, index: Tensor, losses: Tensor) -> None:
        """Be told of a step: places (b,) int64 and unweighted losses (b,) float32, detached."""

    def state_dict(self) -> dict[str, Tensor]:
        """All that was observed and that `select` depends on."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take up what `state_dict` gave."""
        del state

    def _check(self, context: Context) -> None:
        if self.classifies and not context.classes:
            raise AssignmentError("data.selector", self.name, "needs classes, and the task is regression")


def remembered(
    context: Context, name: str, make: Callable[[], dict[str, Tensor]]
) -> tuple[dict[str, Tensor], float]:
    """`make()`, or what it gave earlier in this trial; and the seconds that it took then."""

    def timed() -> dict[str, Tensor]:
        began = time.perf_counter()
        made = make()
        return made | {"seconds": torch.tensor(time.perf_counter() - began, dtype=torch.float64)}

    found = context.remember(name, timed)
    return found, float(found["seconds"])


def best(scores: Tensor, count: int) -> Tensor:
    """The places of the `count` highest scores, ascending (count,); of equal ones the first."""
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def drawn(count: int, size: int, generator: torch.Generator) -> Tensor:
    """`count` of 0 to `size`-1, uniformly, without repeats, ascending."""
    return torch.randperm(size, generator=generator)[:count].sort().values
