"""The training loop, which can stop at any step and resume with the same results."""

from comptroller_trainer.fit.loop import TrainingLoop

__all__ = ["TrainingLoop"]
