"""The attempt's progress: written by the sequence of stages, read by the heartbeat's thread."""

import time
from dataclasses import dataclass, field

from comptroller_api.contract import Heartbeat
from comptroller_trainer.meter import Meter
from comptroller_trainer.runtime import protocol


@dataclass
class AttemptProgress:
    """One attempt's progress. Each field is replaced whole, so that a reader needs no lock."""

    name: str
    started: float
    """The monotonic second at which the container began."""
    lease_seconds: int
    meter: Meter
    phase: str = "start"
    epoch: int = 0
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    loader_share: float | None = None

    def seconds(self) -> float:
        """Seconds since the container began."""
        return time.monotonic() - self.started

    def heartbeat(self) -> Heartbeat:
        """Return the heartbeat that the operator reads."""
        return Heartbeat(
            name=self.name,
            phase=self.phase,
            epoch=self.epoch,
            step=self.step,
            seconds=self.seconds(),
            lease_seconds=self._granted(),
            utilization=self.meter.utilization(),
            energy_joules=self.meter.joules(),
            energy_source=self.meter.energy_source,
            peak_memory_bytes=self.meter.peak_memory_bytes(),
            metrics=self.metrics,
            loader_share=self.loader_share,
        )

    def _granted(self) -> int:
        """Return what the guard grants: what the file says, where that is a number of at least the lease."""
        try:
            granted = protocol.read_grant(protocol.grant_file()) or 0
        except ValueError:
            granted = 0
        return max(self.lease_seconds, granted)
