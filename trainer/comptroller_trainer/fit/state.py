"""The state of training: its position, its best validation and its history."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainingState:
    """The state of training, in numbers that JSON keeps exactly."""

    epoch: int = 0
    """Epochs that are finished and validated."""
    step: int = 0
    """Steps finished in the current epoch."""
    steps: int = 0
    """Steps finished in all."""
    best: list[float] | None = None
    """The best validation; greater is better."""
    waited: int = 0
    """Epochs since the best."""
    dropped: int = 0
    """Times that the plateau schedule lowered the rate."""
    held: int = 0
    """Epochs since the best, or since the rate was lowered."""
    stopped: str = ""
    """The parameter that stopped training early, so that no later rung trains; empty if none has."""
    microbatch: int = 0
    """Samples that are in memory at once; 0: not known yet."""
    seconds: float = 0.0
    """Seconds of training, earlier attempts included."""
    joules: float | None = None
    """Joules of training, earlier attempts included; None if they are not counted."""
    scaler: dict[str, Any] | None = None
    """State of fp16's loss scaling."""
    history: list[dict[str, float]] = field(default_factory=list)
    """The validation of each epoch."""


COSTS = frozenset({"epoch", "train_loss", "seconds", "memory_bytes", "energy_joules"})
"""Names in an entry of the history that are not of the validation."""
