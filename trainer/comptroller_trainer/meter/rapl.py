"""Intel's and AMD's energy counters of the processor packages, where the kernel lets us read them."""

from pathlib import Path

_ROOT = Path("/sys/class/powercap")


class Rapl:
    """Package domains only; the cores and DRAM below them are parts of the same energy."""

    def __init__(self, root: Path = _ROOT) -> None:
        self._domains: dict[Path, int] = {}
        self._range: dict[Path, int] = {}
        for domain in sorted(root.glob("intel-rapl:[0-9]*")):
            if domain.name.count(":") != 1:
                continue
            try:
                self._domains[domain] = _read(domain / "energy_uj")
                self._range[domain] = _read(domain / "max_energy_range_uj")
            except (OSError, ValueError):
                self._domains.pop(domain, None)

    @property
    def available(self) -> bool:
        """True if there is a counter that this process may read."""
        return bool(self._domains)

    def joules_since_last(self) -> float:
        """Return the joules since the last call, or since this object was made."""
        total = 0
        for domain, before in self._domains.items():
            try:
                now = _read(domain / "energy_uj")
            except (OSError, ValueError):
                continue
            total += (now - before) % (self._range[domain] + 1)  # the counter starts over at its range
            self._domains[domain] = now
        return total / 1e6


def _read(path: Path) -> int:
    return int(path.read_text())
