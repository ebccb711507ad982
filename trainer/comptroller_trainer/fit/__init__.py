"""Fit: training, which can end at any step and go on from there as if it had not."""

from comptroller_trainer.fit.loop import Fit

__all__ = ["Fit"]
