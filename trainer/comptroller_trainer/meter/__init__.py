"""Meter the resources of a running attempt: busy time, energy, memory."""

from comptroller_trainer.meter.meter import Meter

__all__ = ["Meter"]
