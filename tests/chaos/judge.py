"""The check of a namespace: what ran, by the witness, against what its journal posted.

Money is in micro-units. A core costs `PRICE` micro-units a second on every node.
"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from chaos.witness import Container

PRICE = 1250
"""The micro-units for a core and second: 4.50 an hour."""
_SHOWN = ("lease", "seconds", "amount", "job", "at", "end", "reason", "started", "ended")
"""The fields of an entry that an attempt's history shows."""
TOLERANCE = 1
"""The seconds per pod that the posted amount may lack: Kubernetes' timestamps have no fractions."""


@dataclass
class Attempt:
    """One attempt, as the journal and the containers show it."""

    study: str
    name: str
    posted: int = 0
    overrun: bool = False
    closed: bool = False
    cost: int = 0
    """The cost of its containers, from the first start of a pod to its last end."""
    allowance: int = 0
    """The cost of its pods for `TOLERANCE`."""
    history: list[str] = field(default_factory=list)
    """The journal's entries on it, and its pods' containers."""

    @property
    def is_unbilled(self) -> bool:
        """Return whether less than its cost is posted."""
        return self.posted < self.cost - self.allowance


@dataclass
class Verdict:
    """The findings in one namespace."""

    namespace: str
    ceilings: dict[str, int]
    """The ceilings in micro-units, by the studies' names."""
    attempts: dict[str, Attempt] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    """The attempts in the journal, and the pods, that have not ended yet."""
    faults: list[str] = field(default_factory=list)
    at_fault: list[str] = field(default_factory=list)
    """The names of the attempts that a fault is about."""
    strangers: int = 0
    """The number of a tenant's own pods, which no lease covers and nobody is billed for."""

    @property
    def posted(self) -> int:
        """Return the posted micro-units of all attempts."""
        return sum(one.posted for one in self.attempts.values())

    @property
    def cost(self) -> int:
        """Return the cost of all attempts in micro-units."""
        return sum(one.cost for one in self.attempts.values())

    @property
    def over(self) -> int:
        """Return the micro-units above ceilings, by container costs or posted amounts, whichever is more."""
        return sum(max(self._over(name, what) for what in ("cost", "posted")) for name in self.ceilings)

    def _over(self, study: str, what: str) -> int:
        total: int = sum(getattr(one, what) for one in self.attempts.values() if one.study == study)
        return max(0, total - self.ceilings[study])

    def conclude(self) -> None:
        """List the faults."""
        self.faults += [f"{what} has not ended" for what in self.open]
        for name, what in product(self.ceilings, ("cost", "posted")):
            if over := self._over(name, what):
                self.faults.append(f"{name}: {what} is {over} micro-units over its ceiling")
        for one in self.attempts.values():
            if any(one.name in what for what in self.open) or one.overrun or one.is_unbilled:
                self.at_fault.append(one.name)
            if one.overrun:
                self.faults.append(f"{one.name} is posted as an overrun")
            if one.is_unbilled:
                self.faults.append(f"{one.name} cost {one.cost} and is posted at {one.posted} micro-units")


def judge(
    namespace: str,
    journal: Iterable[bytes],
    containers: Iterable[Container],
    ceilings: dict[str, int],
    intruder: str,
) -> Verdict:
    """Compare the journal's batches with what ran; the tenant's own containers are named `intruder`."""
    verdict = Verdict(namespace, ceilings)
    for batch in map(json.loads, journal):
        for entry in batch["entries"]:
            _read(verdict.attempts, entry, batch["time"])
    verdict.open += [one.name for one in verdict.attempts.values() if not one.closed]
    for pod, own in _pods(containers).items():
        if all(one.name == intruder for one in own):
            verdict.strangers += 1
        else:
            _bill(verdict, pod, own)
    return verdict


def _read(attempts: dict[str, Attempt], entry: dict[str, Any], at: int) -> None:
    """Apply one entry of the journal, of a batch of that unix second."""
    if entry["kind"] == "Reserve":
        study = entry["name"].rsplit("-", 3)[0]  # <study>-<uid>-<trial>-<attempt>
        attempts.setdefault(entry["name"], Attempt(study, entry["name"]))
    if "attempt" in entry:
        end = f"-{entry['study'][:8]}-{entry['trial']:04d}-{entry['attempt']}"
        (one,) = [one for name, one in attempts.items() if name.endswith(end)]
        shown = {name: entry[name] for name in _SHOWN if name in entry}
        one.history.append(f"{_clock(at)} {entry['kind']} {shown}")
    if entry["kind"] in {"Post", "Close"}:
        one.closed |= entry["kind"] == "Close"
        one.posted += entry.get("amount", 0)
        one.overrun |= entry.get("overrun", False)


def _pods(containers: Iterable[Container]) -> dict[str, list[Container]]:
    """Return the containers by their pod."""
    pods: dict[str, list[Container]] = {}
    for one in containers:
        pods.setdefault(one.pod, []).append(one)
    return pods


def _bill(verdict: Verdict, pod: str, own: list[Container]) -> None:
    """Add the cost of a pod to its attempt: the Job controller names pods `<attempt>-<five characters>`."""
    attempt = next((a for n, a in verdict.attempts.items() if pod.startswith(f"{n}-")), None)
    if attempt is None:
        verdict.faults.append(f"pod {pod} ran without a lease in the journal")
        return
    if not all(one.ended for one in own):
        verdict.open.append(f"pod {pod}")
        return
    times = (f"{one.name} from {_clock(one.started)} to {_clock(one.ended)}" for one in own)
    attempt.history.append(f"pod {pod}: {', '.join(times)}")
    span = max(one.ended for one in own) - min(one.started for one in own)
    rate = sum(one.milli for one in own) * PRICE // 1000
    attempt.cost += round(span * rate)
    attempt.allowance += TOLERANCE * rate


def _clock(moment: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(moment))
