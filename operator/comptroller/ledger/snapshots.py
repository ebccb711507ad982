"""Snapshots: states of the books, stored so that a journal need not be read from its first batch.

A snapshot is believed only if the chain vouches for it. The batch after the one of the snapshot carries the
hash of its content, and is itself in the chain. So a snapshot that was altered, cut, forged, or is of another
journal or a forked one is recognized and ignored, and a snapshot is as trustworthy as the batches after it.
One forgery remains: a writer that rewrites every batch from some number to the last, snapshot included, is
not noticed by a journal that starts there. `verify` reads all batches and would find it by the link to the
batches before, or else by its anchor.

Nothing here is needed: all snapshots can be deleted, and are made again.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from comptroller.ledger.chain import BrokenChain, JournalError, following
from comptroller.ledger.encoding import MAX_BATCH, Head, digest, journal_key
from comptroller.ledger.state import Restored, Taken, UnreadableState, restore
from comptroller.ledger.store import MAX_OBJECT, Exists, Store, StoreError

log = structlog.get_logger()

KEPT = 3
"""The number of snapshots that stay; more than one, since the newest may be damaged."""
_TRIED = 8
"""The number of snapshots that are tried; there are more only if something else writes here."""
_NAME = re.compile(r"([0-9]{12})\.jsonl\.gz")


@dataclass(frozen=True, slots=True)
class Start:
    """The position from which a journal can be read on."""

    taken: Taken
    restored: Restored


def snapshot_prefix(namespace: str) -> str:
    """Return the prefix of the keys of a namespace's snapshots."""
    return f"ledger/{namespace}/snapshots/"


def snapshot_key(namespace: str, sequence: int) -> str:
    """Return the key of the state after batch `sequence`."""
    return f"{snapshot_prefix(namespace)}{sequence:012d}.jsonl.gz"


def stored(store: Store, namespace: str) -> Iterator[tuple[str, int | None]]:
    """The keys there are, oldest first, and the batch each is of; `None` where it is no snapshot's name.

    Raises:
        Unavailable: the store could not be read.
    """
    prefix = snapshot_prefix(namespace)
    for key in store.keys(prefix):
        found = _NAME.fullmatch(key.removeprefix(prefix))
        yield key, int(found[1]) if found else None


def keep(store: Store, namespace: str, taken: Taken) -> None:
    """Store a state and delete the oldest ones; what fails is logged, and is no harm."""
    sequence = taken.head.sequence
    if len(taken.compressed) > MAX_OBJECT:
        log.warning("snapshot too large", namespace=namespace, bytes=len(taken.compressed))
        return
    try:
        store.create(snapshot_key(namespace, sequence), taken.compressed)
        numbers = [number for _, number in stored(store, namespace) if number is not None]
        for number in numbers[:-KEPT]:
            store.delete(snapshot_key(namespace, number))
    except Exists:
        log.info("snapshot is there already", namespace=namespace, sequence=sequence)
    except StoreError as error:
        log.warning("snapshot not stored", namespace=namespace, sequence=sequence, error=str(error))


def newest(store: Store, cluster: str, namespace: str) -> Start | None:
    """Return the newest state that the chain vouches for, or `None` if no such state can be read."""
    try:
        numbers = [number for _, number in stored(store, namespace) if number is not None]
    except StoreError as error:
        log.warning("snapshots not listed", namespace=namespace, error=str(error))
        return None
    for number in reversed(numbers[-_TRIED:]):
        try:
            return _vouched_for(store, cluster, namespace, number)
        except (StoreError, JournalError, UnreadableState) as error:
            log.warning("snapshot ignored", namespace=namespace, sequence=number, error=str(error))
    return None


def _vouched_for(store: Store, cluster: str, namespace: str, sequence: int) -> Start:
    before = Head()
    if sequence:
        before = Head(sequence - 1, digest(_batch(store, namespace, sequence - 1)))
    data = _batch(store, namespace, sequence)
    following(before, data, cluster, namespace)
    head = Head(sequence, digest(data))
    after = following(head, _batch(store, namespace, sequence + 1), cluster, namespace)
    if after.state is None:
        raise UnreadableState(f"batch {sequence + 1} does not vouch for it")
    compressed = store.get(snapshot_key(namespace, sequence))
    if compressed is None:
        raise UnreadableState("it is gone")
    restored = restore(compressed, after.state)
    if (restored.cluster, restored.namespace, restored.head) != (cluster, namespace, head):
        raise UnreadableState(
            f"it says that it is of {restored.cluster}/{restored.namespace}, {restored.head}"
        )
    return Start(Taken(head, after.state, compressed), restored)


def _batch(store: Store, namespace: str, sequence: int) -> bytes:
    data = store.get(journal_key(namespace, sequence), MAX_BATCH)
    if data is None:
        raise BrokenChain(f"batch {sequence} of {namespace} is not there")
    return data
