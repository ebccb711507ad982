"""Early stopping and the plateau schedule, which decide after each validation."""

from comptroller_api.metrics import MAXIMISED
from comptroller_trainer.fit.state import TrainingState
from comptroller_trainer.learning.training import Training


class EarlyStopping:
    """Compares validations.

    Args:
        training: the recipe.
        state: is kept up to date.
    """

    def __init__(self, training: Training, state: TrainingState) -> None:
        self.state = state
        self._training = training

    @property
    def factor(self) -> float:
        """The learning rate after the plateau schedule, as a share of the initial rate."""
        return float(self._training.plateau_factor**self.state.dropped)

    def better(self, metrics: dict[str, float]) -> bool:
        """Return true if this validation is the best so far; training ends after `patience` that are not.

        Raises:
            AssignmentError: `recipe.monitor` is not a metric of this task.
        """
        state, training = self.state, self._training
        found = self._worth(metrics)
        if state.best is None or found > state.best:
            state.best, state.waited, state.held = found, 0, 0
            return True
        state.waited, state.held = state.waited + 1, state.held + 1
        if training.schedule == "plateau" and state.held >= training.plateau_patience:
            state.dropped, state.held = state.dropped + 1, 0
        if training.patience and state.waited >= training.patience:
            state.stopped = "recipe.patience"
        return False

    def too_long(self) -> bool:
        """Return true if another epoch, of the mean length so far, would pass `max_seconds`."""
        state, limit = self.state, self._training.max_seconds
        return bool(limit) and state.seconds * (1 + 1 / state.epoch) > limit

    def _worth(self, metrics: dict[str, float]) -> list[float]:
        monitor = self._training.monitor
        if monitor == "auto":
            return [metrics["accuracy"], -metrics["loss"]] if "accuracy" in metrics else [-metrics["rmse"]]
        return [metrics[monitor] if monitor in MAXIMISED else -metrics[monitor]]
