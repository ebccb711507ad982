"""Rates per hour, and what resources cost at them. Integers; what is owed is rounded up, once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from comptroller_api import quantity
from comptroller_api.money import ceil_div, to_micro
from comptroller_api.pricelist import Rates
from comptroller_api.study import WHOLE_GPU, Resources

_GIB_MILLI = 1000 * 2**30
_HOUR = 3600


@dataclass(frozen=True, slots=True)
class HourlyRates:
    """Micro-units per hour of one GPU, one core and one GiB."""

    gpu: int
    cpu: int
    memory_gib: int
    gpu_resource: str = WHOLE_GPU
    """What `gpu` is the rate of: a whole GPU, or a profile that is priced apart."""

    @classmethod
    def of(cls, rates: Rates) -> "HourlyRates":
        """The declared amounts as integers."""
        return cls(to_micro(rates.gpu), to_micro(rates.cpu), to_micro(rates.memory_gib))

    @classmethod
    def read(cls, entry: Mapping[str, int], kind: str, gpu_resource: str = WHOLE_GPU) -> "HourlyRates":
        """The rates that `written` wrote down.

        Raises:
            KeyError: it wrote none of this kind, or not of this GPU resource.
        """
        gpu, cpu, memory = (entry[name] for name in _names(kind, gpu_resource))
        return cls(gpu, cpu, memory, gpu_resource)

    def written(self, kind: str) -> dict[str, int]:
        """As the ledger has them, by `<kind>.<resource>`; GPU profiles stand beside whole GPUs."""
        amounts = (self.gpu, self.cpu, self.memory_gib)
        return dict(zip(_names(kind, self.gpu_resource), amounts, strict=True))

    def cost(self, resources: Resources, seconds: int) -> int:
        """Micro-units that `resources` cost in `seconds`, rounded up once."""
        return metered(resources, [(self, seconds)])

    def at_most(self, cap: "HourlyRates") -> "HourlyRates":
        """Each rate, or that of `cap` where it is less."""
        return HourlyRates(
            min(self.gpu, cap.gpu),
            min(self.cpu, cap.cpu),
            min(self.memory_gib, cap.memory_gib),
            self.gpu_resource,
        )

    def scaled(self, percent: int) -> "HourlyRates":
        """Each rate at `percent` of itself, rounded up."""
        gpu, cpu, memory = (ceil_div(r * percent, 100) for r in (self.gpu, self.cpu, self.memory_gib))
        return HourlyRates(gpu, cpu, memory, self.gpu_resource)

    def over(self, cap: "HourlyRates") -> list[tuple[str, int, int]]:
        """The names of the rates that are above those of `cap`, with both amounts."""
        pairs = (
            ("gpu", self.gpu, cap.gpu),
            ("cpu", self.cpu, cap.cpu),
            ("memoryGiB", self.memory_gib, cap.memory_gib),
        )
        return [(name, rate, limit) for name, rate, limit in pairs if rate > limit]


def metered(resources: Resources, spans: Iterable[tuple[HourlyRates, int]]) -> int:
    """Micro-units that `resources`, all pods of them, cost over spans of seconds, each at its own rates.

    Rounded up, once.

    Raises:
        ValueError: they have GPUs of another resource than the rates are of.
    """
    micro_hours_milli = 0
    for rates, seconds in spans:
        if resources.gpu and resources.gpus != rates.gpu_resource:
            raise ValueError(f"{resources.gpus} has no price, {rates.gpu_resource} has")
        micro_hours_milli += seconds * (
            rates.gpu * resources.gpu * 1000 * _GIB_MILLI
            + rates.cpu * quantity.milli(resources.cpu) * _GIB_MILLI
            + rates.memory_gib * quantity.milli(resources.memory) * 1000
        )
    return ceil_div(resources.pods * micro_hours_milli, _HOUR * 1000 * _GIB_MILLI)


def _names(kind: str, gpu_resource: str) -> tuple[str, str, str]:
    gpu = "gpu" if gpu_resource == WHOLE_GPU else gpu_resource
    return f"{kind}.{gpu}", f"{kind}.cpu", f"{kind}.memoryGiB"
