"""Mistakes in the ledger: what is stored, and which parts of it are trusted."""

import gzip
from typing import Any

from comptroller.ledger import journal, snapshots, state
from comptroller.ledger.anchored import Anchored
from comptroller.ledger.encoding import journal_key
from comptroller.ledger.journal import Journal
from comptroller.ledger.store import Ambiguous, Conflict, Exists, Unavailable
from comptroller.ledger.stores.memory import MemoryStore
from mutants.planted.registry import Patch, mutant


@mutant
def append_retried_without_read_back(patch: Patch) -> None:
    """A taken number is assumed to be our own write, whose reply was lost."""

    def settle(self: Journal, sequence: int, data: bytes) -> bytes:
        key, lost = journal_key(self._namespace, sequence), False
        for _ in range(journal._TRIES):
            try:
                self._store.create(key, data)
            except Conflict:
                continue
            except Ambiguous:
                lost = True
            except Exists:
                if lost:
                    return data
                stored = self._read(sequence)
                return data if stored is None else stored
            else:
                return data
        raise Unavailable(key)

    patch.setattr(Journal, "_settle", settle)


@mutant
def snapshot_trusted_blindly(patch: Patch) -> None:
    """A snapshot is trusted without its hash in the chain."""

    def trusting(compressed: bytes, _state: Any) -> Any:
        try:
            return state._restored(gzip.decompress(compressed))
        except (OSError, EOFError, ValueError) as error:
            raise state.UnreadableState(str(error)) from error

    patch.setattr(snapshots, "restore", trusting)


@mutant
def two_operators_without_fencing(patch: Patch) -> None:
    """A batch overwrites the one that is there."""

    def overwrite(self: MemoryStore, key: str, data: bytes) -> None:
        self.objects[key] = bytes(data)

    patch.setattr(MemoryStore, "create", overwrite)


@mutant
def a_conflict_means_stored(patch: Patch) -> None:
    """S3's answer that two writes conflicted is taken for success."""
    settle = Journal._settle

    def careless(self: Journal, sequence: int, data: bytes) -> bytes:
        try:
            self._store.create(journal_key(self._namespace, sequence), data)
        except Conflict:
            return data
        except (Ambiguous, Exists):
            return settle(self, sequence, data)
        return data

    patch.setattr(Journal, "_settle", careless)


@mutant
def the_bucket_alone_is_trusted(patch: Patch) -> None:
    """M20: a journal that was cut off or restored from an old copy is continued."""
    patch.setattr(Anchored, "_refusal", lambda _self, _seen: None)
