"""Journals with snapshots in a store in memory."""

import random

from comptroller.ledger.encoding import journal_prefix
from comptroller.ledger.journal import Journal
from comptroller.ledger.snapshots import snapshot_prefix
from comptroller.ledger.stores import MemoryStore
from comptroller.ledger.stores.faulty import Fault, FaultyStore
from comptroller.ledger.testing import plausible

EVERY = 3
"""The batches after which a snapshot is due."""


def journal(
    store: MemoryStore | FaultyStore, writer: str = "w", cluster: str = "c", every: int = EVERY
) -> Journal:
    return Journal(store, cluster, "ns", writer, lambda: 7, pause=lambda _: None, snapshot_every=every)


def opened(store: MemoryStore | FaultyStore, cluster: str = "c") -> Journal:
    one = journal(store, "reader", cluster)
    one.catch_up()
    return one


def filled(batches: int = 11, seed: int = 0, cluster: str = "c", late: float = 0.0) -> MemoryStore:
    store, rng = MemoryStore(), random.Random(seed)
    one = journal(store, cluster=cluster)
    one.catch_up()
    for _ in range(batches):
        assert one.append(plausible(one.books, rng, late=late))
    return store


def bare(store: MemoryStore) -> MemoryStore:
    """Return the same journal without snapshots."""
    other = MemoryStore()
    other.objects = {key: data for key, data in store.objects.items() if key.startswith(journal_prefix("ns"))}
    return other


def kept(store: MemoryStore) -> list[str]:
    """Return the keys of the snapshots."""
    return sorted(key for key in store.objects if key.startswith(snapshot_prefix("ns")))


class Reads:
    """A store that counts its reads."""

    def __init__(self, store: MemoryStore) -> None:
        self.keys: list[str] = []
        self.store = FaultyStore(store, self._fate)

    def _fate(self, operation: str, key: str) -> Fault:
        if operation == "get":
            self.keys.append(key)
        return Fault.NONE


def number(key: str) -> int:
    """Return the number of the batch up to which a snapshot has the books."""
    return int(key.rpartition("/")[2][:12])
