"""Rates per hour, and what resources cost at them. Integers; what is owed is rounded up, once."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from comptroller_api import quantity
from comptroller_api.money import ceil_div, to_micro
from comptroller_api.pricelist import Rates
from comptroller_api.study import WHOLE_GPU, Resources

_GIB_MILLI = 1000 * 2**30
_HOUR = 3600


@dataclass(frozen=True, slots=True)
class HourlyRates:
    """Micro-units per hour of one GPU, one core, one GiB of memory and one of storage. `None`: no price."""

    gpu: int | None
    cpu: int | None
    memory_gib: int | None
    gpu_resource: str = WHOLE_GPU
    """The unit that `gpu` prices: a whole GPU, or a profile that is priced apart."""
    storage_gib: int | None = None

    @classmethod
    def of(cls, rates: Rates) -> "HourlyRates":
        """Return the declared amounts as integers; a rate that is not written has none."""
        gpu, cpu, memory, storage = (
            None if amount is None else to_micro(amount)
            for amount in (rates.gpu, rates.cpu, rates.memory_gib, rates.storage_gib)
        )
        return cls(gpu, cpu, memory, storage_gib=storage)

    @classmethod
    def read(cls, entry: Mapping[str, int], kind: str, gpu_resource: str = WHOLE_GPU) -> "HourlyRates":
        """Return the rates that `written` wrote down.

        Raises:
            KeyError: the entry has no rate of this kind.
        """
        gpu, cpu, memory, storage = found = [entry.get(name) for name in _names(kind, gpu_resource)]
        if not any(rate is not None for rate in found):
            raise KeyError(kind)
        return cls(gpu, cpu, memory, gpu_resource, storage)

    def written(self, kind: str) -> dict[str, int]:
        """Return the rates as the ledger has them, by `<kind>.<resource>`; GPU profiles have own names."""
        amounts = (self.gpu, self.cpu, self.memory_gib, self.storage_gib)
        named = zip(_names(kind, self.gpu_resource), amounts, strict=True)
        return {name: amount for name, amount in named if amount is not None}

    def lacks(self, resources: Resources) -> list[str]:
        """Return the names of the rates that `resources` need and that are not written.

        Scratch space that a study did not ask for comes with the node where storage has no price.
        """
        missing = []
        if self.gpu is None and resources.gpu > 0:
            missing.append("gpu" if resources.gpus == WHOLE_GPU else resources.gpus)
        if self.cpu is None:
            missing.append("cpu")
        if self.memory_gib is None:
            missing.append("memoryGiB")
        if self.storage_gib is None and resources.ephemeral_storage is not None:
            missing.append("storageGiB")
        return missing

    def cost(self, resources: Resources, seconds: int) -> int:
        """Return the micro-units that `resources` cost in `seconds`, rounded up once.

        Raises:
            ValueError: a resource has no rate.
        """
        return metered(resources, [(self, seconds)])

    def at_most(self, cap: "HourlyRates") -> "HourlyRates":
        """Return each rate, or that of `cap` where it is less."""
        return self._with(cap, min)

    def priced_in(self, cap: "HourlyRates") -> "HourlyRates":
        """Return the rates that have a cap: what has none is no price."""
        return self._with(cap, lambda rate, _: rate)

    def _with(self, other: "HourlyRates", choose: Callable[[int, int], int]) -> "HourlyRates":
        """Combine the rates that both have; a rate that one lacks has no price."""
        pairs = (
            (self.gpu, other.gpu),
            (self.cpu, other.cpu),
            (self.memory_gib, other.memory_gib),
            (self.storage_gib, other.storage_gib),
        )
        gpu, cpu, memory, storage = (
            None if mine is None or its is None else choose(mine, its) for mine, its in pairs
        )
        return HourlyRates(gpu, cpu, memory, self.gpu_resource, storage)

    def scaled(self, percent: int) -> "HourlyRates":
        """Return each rate at `percent` of itself, rounded up."""
        return self._with(self, lambda rate, _: ceil_div(rate * percent, 100))

    def over(self, cap: "HourlyRates") -> list[tuple[str, int, int]]:
        """Return the names of the rates that are above those of `cap`, with both amounts."""
        return [(name, rate, limit) for name, rate, limit in self._pairs(cap) if rate > limit]

    def under(self, cap: "HourlyRates", percent: int) -> list[tuple[str, int, int]]:
        """Return the names of the rates that are below `percent` of `cap`, with both amounts.

        A rate whose cap is written as free may be free.
        """
        floors = [(name, rate, ceil_div(limit * percent, 100)) for name, rate, limit in self._pairs(cap)]
        return [(name, rate, floor) for name, rate, floor in floors if rate < floor]

    def _pairs(self, cap: "HourlyRates") -> Iterator[tuple[str, int, int]]:
        pairs = (
            ("gpu", self.gpu, cap.gpu),
            ("cpu", self.cpu, cap.cpu),
            ("memoryGiB", self.memory_gib, cap.memory_gib),
            ("storageGiB", self.storage_gib, cap.storage_gib),
        )
        for name, rate, limit in pairs:
            if rate is not None and limit is not None:
                yield name, rate, limit


def metered(resources: Resources, spans: Iterable[tuple[HourlyRates, int]]) -> int:
    """Return the micro-units that all pods of `resources` cost over spans of seconds at their own rates.

    Rounded up, once.

    Raises:
        ValueError: a resource has no rate, or its GPUs are of another resource than the rates are of.
    """
    micro_hours_milli = 0
    gpu, cpu = resources.gpu * 1000 * _GIB_MILLI, quantity.milli(resources.cpu) * _GIB_MILLI
    memory, storage = quantity.milli(resources.memory) * 1000, quantity.milli(resources.storage) * 1000
    for rates, seconds in spans:
        if gpu and resources.gpus != rates.gpu_resource:
            raise ValueError(f"{resources.gpus} has no price, {rates.gpu_resource} has")
        if missing := rates.lacks(resources):
            raise ValueError(f"{', '.join(missing)} has no price")
        micro_hours_milli += seconds * (
            (rates.gpu or 0) * gpu
            + (rates.cpu or 0) * cpu
            + (rates.memory_gib or 0) * memory
            + (rates.storage_gib or 0) * storage
        )
    return ceil_div(resources.pods * micro_hours_milli, _HOUR * 1000 * _GIB_MILLI)


def _names(kind: str, gpu_resource: str) -> tuple[str, str, str, str]:
    gpu = "gpu" if gpu_resource == WHOLE_GPU else gpu_resource
    return f"{kind}.{gpu}", f"{kind}.cpu", f"{kind}.memoryGiB", f"{kind}.storageGiB"
