"""Faults of the bucket."""

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comptroller.ledger.snapshots import snapshot_prefix
from comptroller.ledger.stores.faulty import Fault
from comptroller.simulation.faults import operators
from comptroller.simulation.process import JOURNAL, NAMESPACE

if TYPE_CHECKING:
    from comptroller.simulation.run import Run


@dataclass(frozen=True)
class StoreFault:
    """Something goes wrong with an operator's next calls to S3."""

    at: int
    slot: str
    kind: str
    """`create`, or `read`."""
    fault: str
    """A name of `Fault`."""
    count: int = 1
    arrives: int = 0
    """Seconds after which what is late takes effect."""
    apart: bool = False
    """Every second call only; those between come through."""

    def __str__(self) -> str:
        calls = f"{self.count} of {self.kind}{', every second one,' if self.apart else ''}"
        return f"S3: the next {calls} by operator {self.slot}: {self.fault}"

    def happen(self, run: "Run") -> None:
        """Arm it."""
        for process in operators(run, self.slot):
            between = [(self.kind, Fault.NONE)] if self.apart else []
            process.store_faults += [(self.kind, Fault[self.fault]), *between] * self.count
            if self.fault == "LATE":
                for again in range(1, 6):
                    run.cluster.timeline.after(self.arrives * again, process.arrive)


@dataclass(frozen=True)
class StoreAway:
    """S3 does not answer."""

    at: int
    seconds: int

    def __str__(self) -> str:
        return f"S3 is away for {self.seconds}s"

    def happen(self, run: "Run") -> None:
        """Take it away."""

        def back() -> None:
            run.store_away = False

        run.store_away = True
        run.cluster.timeline.after(self.seconds, back)


@dataclass(frozen=True)
class BadSnapshot:
    """The newest snapshot of the ledger is not what was stored."""

    at: int
    how: str
    """`cut` or `forged`: it says that nothing was spent or held."""

    def __str__(self) -> str:
        return f"the newest snapshot is {self.how}"

    def happen(self, run: "Run") -> None:
        """Replace it."""
        keys = list(run.store.keys(snapshot_prefix(NAMESPACE)))
        if not keys:
            return
        data, sequence = (
            run.store.objects[keys[-1]],
            int(keys[-1].rsplit("/", 1)[1].split(".", maxsplit=1)[0]),
        )
        if data != run.damaged.get(sequence):
            bad = _forged(data) if self.how == "forged" else data[: len(data) // 2]
            run.store.objects[keys[-1]] = run.damaged[sequence] = bad


def _forged(snapshot: bytes) -> bytes:
    *attempts, last, _ = gzip.decompress(snapshot).split(b"\n")
    rest = json.loads(last)
    for account in rest["accounts"]:
        account |= {"spent": 0, "held": 0}
    return gzip.compress(b"\n".join([*attempts, json.dumps(rest).encode(), b""]), mtime=0)


@dataclass(frozen=True)
class SlowStore:
    """Every call to S3 takes seconds."""

    at: int
    seconds: int
    call: int

    def __str__(self) -> str:
        return f"a call to S3 takes {self.call}s, for {self.seconds}s"

    def happen(self, run: "Run") -> None:
        """Slow it down."""

        def back() -> None:
            run.store_seconds = 0

        run.store_seconds = self.call
        run.cluster.timeline.after(self.seconds, back)


@dataclass(frozen=True)
class RolledBack:
    """The bucket is as it was some batches ago, until somebody restores it."""

    at: int
    back: int
    """Batches before the head that the cluster has published."""
    seconds: int

    def __str__(self) -> str:
        return f"the bucket is {self.back} batches behind what was published, for {self.seconds}s"

    def happen(self, run: "Run") -> None:
        """Take the last batches away, and what rests on them."""
        published = run.anchor.published.get(NAMESPACE)
        if published is None or published.head.sequence < 1 or len(run.processes) > 1 or run.missing:
            return
        first = max(1, published.head.sequence + 1 - self.back)
        for key in list(run.store.objects):
            if key.startswith((JOURNAL, snapshot_prefix(NAMESPACE))) and _sequence(key) >= first:
                run.missing[key] = run.store.objects.pop(key)

        def back() -> None:
            run.store.objects |= run.missing
            run.missing.clear()
            run.restored = run.cluster.now

        run.cluster.timeline.after(self.seconds, back)


def _sequence(key: str) -> int:
    return int(key.rsplit("/", 1)[1].split(".", maxsplit=1)[0])
