"""Where training is."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Place:
    """Where training is, in numbers that JSON keeps exactly."""

    epoch: int = 0
    """Whole epochs behind, validated."""
    step: int = 0
    """Steps behind in the epoch that is on."""
    steps: int = 0
    """Steps behind in all."""
    best: list[float] | None = None
    """The best validation, greater is better."""
    waited: int = 0
    """Epochs since the best."""
    dropped: int = 0
    """Times that the plateau schedule lowered the rate."""
    held: int = 0
    """Epochs since the best, or since the rate was lowered."""
    stopped: str = ""
    """The parameter that ended training early, so that no later rung trains on; empty while none has."""
    microbatch: int = 0
    """Samples that are in memory at once; 0: not known yet."""
    seconds: float = 0.0
    """Of training, earlier attempts included."""
    joules: float | None = None
    """Likewise, where they are counted."""
    scaler: dict[str, Any] | None = None
    """Of fp16's loss scaling."""
    history: list[dict[str, float]] = field(default_factory=list)
    """One validation an epoch."""


COSTS = frozenset({"epoch", "train_loss", "seconds", "memory_bytes", "energy_joules"})
"""What a history's entry holds beside the validation."""
