"""Decide after a validation: keep the weights, lower the rate, stop early."""

from comptroller_trainer.fit.place import Place
from comptroller_trainer.learning.training import Training
from comptroller_trainer.measure.quality import MAXIMISED


class Judge:
    """Compares validations.

    Args:
        training: the recipe.
        place: is kept up to date.
    """

    def __init__(self, training: Training, place: Place) -> None:
        self.place = place
        self._training = training

    @property
    def factor(self) -> float:
        """The learning rate after the plateau schedule, as a share of the initial rate."""
        return float(self._training.plateau_factor**self.place.dropped)

    def better(self, metrics: dict[str, float]) -> bool:
        """Return true if this validation is the best so far; training ends after `patience` that are not.

        Raises:
            AssignmentError: `recipe.monitor` is not a metric of this task.
        """
        place, training = self.place, self._training
        found = self._worth(metrics)
        if place.best is None or found > place.best:
            place.best, place.waited, place.held = found, 0, 0
            return True
        place.waited, place.held = place.waited + 1, place.held + 1
        if training.schedule == "plateau" and place.held >= training.plateau_patience:
            place.dropped, place.held = place.dropped + 1, 0
        if training.patience and place.waited >= training.patience:
            place.stopped = "recipe.patience"
        return False

    def too_long(self) -> bool:
        """Return true if another epoch, of the mean length so far, would pass `max_seconds`."""
        place, limit = self.place, self._training.max_seconds
        return bool(limit) and place.seconds * (1 + 1 / place.epoch) > limit

    def _worth(self, metrics: dict[str, float]) -> list[float]:
        monitor = self._training.monitor
        if monitor == "auto":
            return [metrics["accuracy"], -metrics["loss"]] if "accuracy" in metrics else [-metrics["rmse"]]
        return [metrics[monitor] if monitor in MAXIMISED else -metrics[monitor]]
