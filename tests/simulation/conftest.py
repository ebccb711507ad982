"""A controller in a simulated cluster, and the promises that every history must keep."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from comptroller.cluster.simulated import Faults, Lost, Simulated
from comptroller.controller import Controller, at_once
from comptroller.ledger.anchor import MemoryAnchor
from comptroller.ledger.books import Books
from comptroller.ledger.encoding import decode, journal_key
from comptroller.ledger.journal import Journal
from comptroller.ledger.store import StoreError, TooLarge
from comptroller.ledger.stores.faulty import Fault, FaultyStore
from comptroller.ledger.stores.memory import MemoryStore
from comptroller.site import SitePolicy
from comptroller_api.contract import MAX_REPORT
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study

NAMESPACE = "team"

PRICES = PriceList.model_validate(
    {
        "metadata": {"name": "list"},
        "spec": {
            "currency": "USD",
            "asOf": "2026-01-01T00:00:00Z",
            "nodeClasses": [
                {
                    "name": "small",
                    "onDemand": {"cpu": "3.60", "memoryGiB": "0"},
                    "cap": {"cpu": "7.20", "memoryGiB": "0"},
                },
            ],
        },
    }
)
"""A core costs 0.001 a second, and 0.002 at the cap."""


def study(ceiling: str = "100.00", uid: str = "0000-1", **changes: Any) -> Study:
    """Return a study of six trials, two at once, in two rungs."""
    spec: dict[str, Any] = {
        "data": {"uri": "generated:mnist1d", "format": "MNIST1D"},
        "space": {
            "parameters": [
                {"name": "model.width", "type": "Integer", "min": "4", "max": "64"},
                {"name": "recipe.lr", "type": "Float", "min": "0.001", "max": "1", "scale": "Log"},
            ]
        },
        "baseline": {"model.width": "16", "recipe.lr": "0.1"},
        "objectives": [{"metric": "accuracy"}],
        "ceilings": {"spend": {"amount": ceiling, "currency": "USD"}},
        "search": {"engine": "Random", "trials": 6, "parallel": 2, "rungs": {"epochs": [1, 3]}},
        "runtime": {"nodeClass": "small", "lease": {"duration": "60s", "gracePeriod": "10s", "slack": "5s"}},
        "artifacts": {"uri": "s3://bucket/artifacts"},
    }
    for field, value in changes.items():
        spec[field] = {**spec[field], **value} if isinstance(value, dict) else value
    return Study.model_validate(
        {"metadata": {"name": f"s{uid[-1]}", "namespace": NAMESPACE, "uid": uid}, "spec": spec}
    )


class Simulation:
    """One simulated cluster, one ledger, and any number of operators."""

    def __init__(
        self, seed: int = 0, faults: Faults | None = None, fate: Callable[[str, str], Fault] | None = None
    ) -> None:
        self.reports: dict[str, bytes] = {}
        self.store = MemoryStore()
        self.anchor = MemoryAnchor()
        self.remote = FaultyStore(self.store, fate or (lambda _call, _key: Fault.NONE))
        self.cluster = Simulated(seed, self._put, faults=faults)
        self.cluster.prices = (PRICES,)
        self.site = SitePolicy()
        self._writers = itertools.count()
        self.operator = self.start_operator()

    def _put(self, uri: str, data: bytes) -> None:
        assert uri not in self.reports, f"{uri} written twice"
        self.reports[uri] = data

    def start_operator(self) -> Controller:
        """Start an operator without memory."""
        writer = f"writer-{next(self._writers)}"
        return Controller(
            self.cluster,
            lambda namespace: Journal(
                self.remote, "cluster", namespace, writer, lambda: self.cluster.now, pause=lambda _: None
            ),
            self,
            lambda: self.cluster.now,
            trainer_image="trainer",
            site=self.site,
            blocking=at_once,
            anchor=self.anchor,
        )

    def get(self, uri: str, limit: int = MAX_REPORT) -> bytes | None:
        """Return an artifact, as `Artifacts` does."""
        found = self.reports.get(uri)
        if found is not None and len(found) > limit:
            raise TooLarge(uri)
        return found

    def first(self, uri: str) -> str | None:
        """Return that data exist, as `Artifacts` does."""
        return uri

    def reconcile(self, operator: Controller | None = None) -> bool:
        """Run one reconcile; a fault that it raises is left to the next one."""
        try:
            return asyncio.run((operator or self.operator).reconcile(NAMESPACE))
        except (Lost, StoreError):
            return True

    def run(self, seconds: int = 20_000, step: int = 5) -> None:
        """Run until the study is over, or for `seconds`."""
        for _ in range(0, seconds, step):
            self.reconcile()
            self.cluster.advance(step)
            if self.over:
                break
        self.settle()

    def settle(self) -> None:
        """Run until an operator has nothing left to do at once."""
        for _ in range(100):
            if not self.reconcile():
                return
        raise AssertionError("the operator does not come to rest")

    @property
    def over(self) -> bool:
        """Return whether every study has a final condition."""
        return all(
            any(c.type in {"Complete", "Failed"} and c.status == "True" for c in s.status.conditions)
            if s.status
            else False
            for s in self.cluster.studies.values()
        )

    def check(self) -> Books:
        """Check P1, P2 and P4 in every prefix of the ledger; return the books at its end."""
        books, held = Books(), set()
        for sequence in itertools.count():
            data = self.store.get(journal_key(NAMESPACE, sequence))
            if data is None:
                break
            for entry in decode(data).entries:
                assert books.apply(entry) is None, entry
                held.add(getattr(entry, "name", None))
                for name, account in books.accounts.items():
                    assert account.spent + account.held <= account.ceiling, (sequence, name)
        assert books.overruns == 0
        assert len(set(self.cluster.launches)) == len(self.cluster.launches), "an attempt was launched twice"
        assert set(self.cluster.launches) <= held, "a pod without a lease"
        return books

    def outcomes(self) -> dict[int, str | None]:
        """Return each trial's outcome."""
        return {t.spec.number: t.status.outcome if t.status else None for t in self.cluster.trials.values()}


@pytest.fixture
def simulate() -> Callable[..., Simulation]:
    """Return a function that makes simulations."""
    return Simulation


@pytest.fixture
def make_study() -> Callable[..., Study]:
    """Return a function that makes studies."""
    return study
