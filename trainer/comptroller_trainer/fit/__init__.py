"""Fit: training, which can stop at any step and resume with the same results."""

from comptroller_trainer.fit.loop import Fit

__all__ = ["Fit"]
