"""This machine's resources, and the part that each attempt gets."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from comptroller_api import quantity
from comptroller_api.study import Resources


@dataclass(frozen=True, slots=True)
class Share:
    """The part of the machine that one attempt has."""

    resources: Resources
    cores: tuple[int, ...]
    gpus: tuple[int, ...]


def _cores() -> tuple[int, ...]:
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _gpus() -> int:
    return sum(path.name.removeprefix("nvidia").isdigit() for path in Path("/dev").glob("nvidia*"))


@dataclass(frozen=True, slots=True)
class Machine:
    """Cores by number, bytes of memory, and GPUs."""

    cores: tuple[int, ...]
    memory: int
    gpus: int = 0

    @classmethod
    def this(cls) -> "Machine":
        """The machine that runs us; only the cores that we may use."""
        return cls(_cores(), _memory(), _gpus())

    def refusal(self, wanted: Resources) -> str | None:
        """Return why `wanted` can never run here, if it cannot."""
        if wanted.pods > 1:
            return f"it asks for {wanted.pods} pods, and there are none here; leave out resources.pods"
        if quantity.milli(wanted.cpu) > 1000 * len(self.cores):
            return f"it asks for {wanted.cpu} CPUs and this machine has {len(self.cores)}"
        if quantity.whole(wanted.memory) > self.memory:
            return f"it asks for {wanted.memory} of memory and this machine has {self.memory // 2**20}Mi"
        if wanted.gpu > self.gpus:
            return f"it asks for {wanted.gpu} GPUs and this machine has {self.gpus}"
        return None

    def share(self, wanted: Resources, taken: Iterable[Share]) -> Share | None:
        """Return a part that is free of what is `taken`, or `None`."""
        others = list(taken)
        cpu = sum(quantity.milli(other.resources.cpu) for other in others) + quantity.milli(wanted.cpu)
        memory = sum(quantity.whole(other.resources.memory) for other in others)
        if cpu > 1000 * len(self.cores) or memory + quantity.whole(wanted.memory) > self.memory:
            return None
        free = sorted(set(range(self.gpus)) - {gpu for other in others for gpu in other.gpus})
        if wanted.gpu > len(free):
            return None
        load = dict.fromkeys(self.cores, 0)
        for other in others:
            for core in other.cores:
                # A core may have left the set that we may use since the attempt began.
                load[core] = load.get(core, 0) + quantity.milli(other.resources.cpu) // len(other.cores)
        count = -(-quantity.milli(wanted.cpu) // 1000)
        cores = sorted(self.cores, key=lambda core: (load[core], core))[:count]
        return Share(wanted, tuple(sorted(cores)), tuple(free[: wanted.gpu]))
