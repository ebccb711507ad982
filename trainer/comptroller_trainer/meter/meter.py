"""The meter: a thread that takes a sample once a second."""

import threading
import time
from collections import deque
from typing import Literal, NamedTuple

from comptroller_api.contract import Utilization
from comptroller_trainer.meter.nvml import Gpus
from comptroller_trainer.meter.process import cpu_seconds, machine_busy_seconds, peak_memory
from comptroller_trainer.meter.rapl import Rapl

EnergySource = Literal["nvml", "rapl", "estimate", "none"]

_INTERVAL = 1.0
_WINDOW = 10.0
"""Seconds that utilization is averaged over: long enough for a mean, short enough to see idleness."""


class _Sample(NamedTuple):
    at: float
    cpu: float
    """CPU seconds of this process and its children since it began."""
    gpu_percent: float | None


class Meter:
    """Utilization, energy and peak memory of this process, its children and its GPUs.

    Args:
        cpus: CPUs requested; 100 percent is all of them busy.
    """

    def __init__(self, cpus: float) -> None:
        self._cpus = cpus
        self._gpus = Gpus()
        self._rapl = Rapl()
        self._samples: deque[_Sample] = deque()
        self._lock = threading.Lock()
        self._rapl_joules = 0.0
        self._machine_busy = machine_busy_seconds()
        self._ended = threading.Event()
        self._sample()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)

    def start(self) -> None:
        """Start sampling."""
        self._thread.start()

    def close(self) -> None:
        """Stop sampling."""
        self._ended.set()

    def utilization(self) -> Utilization:
        """Return the utilization over the last seconds."""
        with self._lock:
            first, last = self._samples[0], self._samples[-1]
            percents = [s.gpu_percent for s in self._samples if s.gpu_percent is not None]
        if percents:
            return Utilization(percent=sum(percents) / len(percents), source="nvml")
        elapsed = last.at - first.at
        if elapsed <= 0:
            return Utilization(percent=0.0, source="none")
        return Utilization(
            percent=max(0.0, 100 * (last.cpu - first.cpu) / elapsed / self._cpus), source="process"
        )

    @property
    def energy_source(self) -> EnergySource:
        """The source of the joules."""
        return "nvml" if self._gpus.counts_energy else "rapl" if self._rapl.available else "none"

    def joules(self) -> float | None:
        """Return the energy since the meter began; None without a source.

        The GPUs' own counters, or the processors' counters times this attempt's share of what they did.
        """
        if self._gpus.counts_energy:
            return self._gpus.joules()
        if not self._rapl.available:
            return None
        self._sample()
        with self._lock:
            return self._rapl_joules

    def peak_memory_bytes(self) -> int:
        """Return the most bytes resident, in the accelerator if there is one, else in this process."""
        return self._gpus.peak_memory() or peak_memory()

    def _run(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._sample()

    def _sample(self) -> None:
        sample = _Sample(time.monotonic(), cpu_seconds(), self._gpus.percent())
        with self._lock:
            if self._rapl.available:
                self._share_energy(sample)
            self._samples.append(sample)
            while sample.at - self._samples[0].at > _WINDOW:
                self._samples.popleft()

    def _share_energy(self, sample: _Sample) -> None:
        busy, used = machine_busy_seconds(), self._rapl.joules_since_last()
        ours = sample.cpu - self._samples[-1].cpu if self._samples else 0.0
        machine = max(busy - self._machine_busy, ours)
        self._machine_busy = busy
        if machine > 0:
            self._rapl_joules += used * ours / machine
