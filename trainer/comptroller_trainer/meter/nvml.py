"""NVIDIA GPUs by their own counters. Nothing here fails without a GPU."""

import os
import sys
from typing import Any


class Gpus:
    """The GPUs that this process may use."""

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._nvml: Any = None
        self._first: list[int] = []
        if os.environ.get("CUDA_VISIBLE_DEVICES") == "" or not os.path.exists("/dev/nvidiactl"):  # noqa: PTH110 - a device
            return  # spares every CPU trial the import
        import pynvml  # noqa: PLC0415 - see above

        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(count)]
        except pynvml.NVMLError:
            return
        self._nvml = pynvml
        try:
            self._first = self._millijoules()
        except pynvml.NVMLError:
            self._first = []  # before Volta, and on MIG slices, there is no counter

    @property
    def counts_energy(self) -> bool:
        """True if every GPU has an energy counter."""
        return bool(self._first)

    def joules(self) -> float:
        """Return the joules of all GPUs since this object was made."""
        return (sum(self._millijoules()) - sum(self._first)) / 1000

    def percent(self) -> float | None:
        """Return the mean share of the last sampling period in which GPUs ran a kernel; None without GPUs."""
        if not self._handles:
            return None
        try:
            rates = [self._nvml.nvmlDeviceGetUtilizationRates(h).gpu for h in self._handles]
        except self._nvml.NVMLError:
            return None
        return float(sum(rates)) / len(rates)

    def peak_memory(self) -> int:
        """Return the bytes that torch has held on the GPUs at most; 0 without GPUs."""
        if not self._handles:
            return 0
        torch = sys.modules.get("torch")  # a heartbeat before torch is imported must not import it
        if torch is None or not torch.cuda.is_initialized():
            return 0
        return sum(torch.cuda.max_memory_reserved(i) for i in range(torch.cuda.device_count()))

    def _millijoules(self) -> list[int]:
        return [self._nvml.nvmlDeviceGetTotalEnergyConsumption(h) for h in self._handles]
