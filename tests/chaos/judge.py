"""The verdict on a namespace: what ran, by the witness, against what its journal posted.

Money is in micro-units. A core costs `PRICE` of them a second on every node.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from chaos.witness import Container

PRICE = 1250
"""Micro-units a core and second: 4.50 an hour."""
TOLERANCE = 1
"""Seconds a pod by which what is posted may fall short: Kubernetes' stamps have no fractions."""


@dataclass
class Attempt:
    """One attempt: what the journal holds of it, and what ran of it."""

    study: str
    name: str
    posted: int = 0
    overrun: bool = False
    closed: bool = False
    cost: int = 0
    """What its containers cost, from the first start of a pod to its last end."""
    allowance: int = 0
    """What its pods cost in `TOLERANCE`."""


@dataclass
class Verdict:
    """What was found in one namespace."""

    namespace: str
    ceilings: dict[str, int]
    """Micro-units by the studies' names."""
    attempts: dict[str, Attempt] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    """What has not ended yet: attempts in the journal, and pods."""
    faults: list[str] = field(default_factory=list)
    strangers: int = 0
    """A tenant's pods of the tenant's own making: no lease covers them, and nobody is billed."""

    @property
    def posted(self) -> int:
        """Micro-units, of all attempts."""
        return sum(one.posted for one in self.attempts.values())

    @property
    def cost(self) -> int:
        """Micro-units, of all attempts."""
        return sum(one.cost for one in self.attempts.values())

    @property
    def over(self) -> int:
        """Micro-units above ceilings, by what containers cost or by what was posted, whichever is more."""
        return sum(max(self._over(name, what) for what in ("cost", "posted")) for name in self.ceilings)

    def _over(self, study: str, what: str) -> int:
        total: int = sum(getattr(one, what) for one in self.attempts.values() if one.study == study)
        return max(0, total - self.ceilings[study])

    def conclude(self) -> None:
        """Name what is wrong."""
        self.faults += [f"{what} has not ended" for what in self.open]
        for name, what in product(self.ceilings, ("cost", "posted")):
            if over := self._over(name, what):
                self.faults.append(f"{name}: {what} is {over} micro-units over its ceiling")
        for one in self.attempts.values():
            if one.overrun:
                self.faults.append(f"{one.name} is posted as an overrun")
            if one.posted < one.cost - one.allowance:
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
    for batch in journal:
        for entry in json.loads(batch)["entries"]:
            _read(verdict.attempts, entry)
    verdict.open += [one.name for one in verdict.attempts.values() if not one.closed]
    for pod, own in _pods(containers).items():
        if all(one.name == intruder for one in own):
            verdict.strangers += 1
        else:
            _bill(verdict, pod, own)
    return verdict


def _read(attempts: dict[str, Attempt], entry: dict[str, Any]) -> None:
    """Take in one entry of the journal."""
    if entry["kind"] == "Reserve":
        study = entry["name"].rsplit("-", 3)[0]  # <study>-<uid>-<trial>-<attempt>
        attempts.setdefault(entry["name"], Attempt(study, entry["name"]))
    if entry["kind"] in {"Post", "Close"}:
        end = f"-{entry['study'][:8]}-{entry['trial']:04d}-{entry['attempt']}"
        (one,) = [one for name, one in attempts.items() if name.endswith(end)]
        one.closed |= entry["kind"] == "Close"
        one.posted += entry.get("amount", 0)
        one.overrun |= entry.get("overrun", False)


def _pods(containers: Iterable[Container]) -> dict[str, list[Container]]:
    """Containers by their pod."""
    pods: dict[str, list[Container]] = {}
    for one in containers:
        pods.setdefault(one.pod, []).append(one)
    return pods


def _bill(verdict: Verdict, pod: str, own: list[Container]) -> None:
    """Add what a pod cost to its attempt: the Job controller names pods `<attempt>-<five characters>`."""
    attempt = next((a for n, a in verdict.attempts.items() if pod.startswith(f"{n}-")), None)
    if attempt is None:
        verdict.faults.append(f"pod {pod} ran without a lease in the journal")
        return
    if not all(one.ended for one in own):
        verdict.open.append(f"pod {pod}")
        return
    span = max(one.ended for one in own) - min(one.started for one in own)
    rate = sum(one.milli for one in own) * PRICE // 1000
    attempt.cost += round(span * rate)
    attempt.allowance += TOLERANCE * rate
