"""What the attempt uses while it runs: busy time, energy, memory."""

from comptroller_trainer.meter.meter import Meter

__all__ = ["Meter"]
