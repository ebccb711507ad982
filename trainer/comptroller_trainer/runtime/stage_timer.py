"""Time and meter the stages of a trial."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from comptroller_api.contract import Stage
from comptroller_trainer.runtime.progress import AttemptProgress
from comptroller_trainer.runtime.stop import StopSignal

_log = structlog.get_logger("trial")


class StageTimer:
    """Runs stages one after the other and keeps the time and energy of each."""

    def __init__(self, progress: AttemptProgress, stop: StopSignal) -> None:
        self.progress = progress
        self.stop = stop
        self.stages: list[Stage] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run a block as the stage `name`.

        Raises:
            Suspended: a stop was requested before the stage began.
        """
        self.stop.check()
        self.progress.phase = name
        began, energy = time.monotonic(), self.progress.meter.joules()
        yield
        used = self.progress.meter.joules()
        self.stages.append(
            Stage(
                name=name,
                seconds=time.monotonic() - began,
                energy_joules=None if used is None or energy is None else max(0.0, used - energy),
            )
        )
        _log.info("stage", name=name, seconds=round(self.stages[-1].seconds, 3))
