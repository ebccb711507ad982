"""The journal of one namespace: read to its end, folded, and appended to by at most one writer a number.

Safety rests on three things and on no clock: a sequence number is taken once (`Store.create`), a batch names
the bytes it follows, and an entry has effect only where the fold accepts it. So any number of writers may be
alive, and a write that arrives late finds its number taken, or is read by everyone like any other.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from comptroller.ledger import snapshots
from comptroller.ledger.books import Books
from comptroller.ledger.chain import (
    BrokenChain,
    ForeignJournal,
    JournalError,
    NewerRelease,
    following,
)
from comptroller.ledger.encoding import (
    MAX_BATCH,
    MAX_ENTRY,
    Head,
    assemble,
    digest,
    journal_key,
    journal_prefix,
    packed,
    sequence_of,
)
from comptroller.ledger.entries import Batch, Entry, Reserve, Takeover
from comptroller.ledger.state import VERSION, Recorder, Taken
from comptroller.ledger.store import Ambiguous, Conflict, Exists, Store, Unavailable

__all__ = [
    "BrokenChain",
    "ForeignJournal",
    "Head",
    "Journal",
    "JournalError",
    "NewerRelease",
    "Rejected",
    "Rejection",
]

SNAPSHOT_EVERY = 500
"""Batches from one snapshot to the next: the most that a starting operator may have to read."""
_ENTRIES_A_BATCH = 40
"""Entries that count as one batch of the interval: folding so many takes as long as reading one batch."""
_TRIES = 6
_FIRST_PAUSE = 0.05
"""Seconds; doubled at each try."""


class Rejected(JournalError):  # noqa: N818 - says what happened
    """An entry breaks a rule of the books; nothing was written."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An entry that was written and has no effect."""

    sequence: int
    entry: str
    rule: str


class Journal:
    """One namespace's journal and its books. One caller at a time."""

    def __init__(
        self,
        store: Store,
        cluster: str,
        namespace: str,
        writer: str,
        clock: Callable[[], int],
        *,
        pause: Callable[[float], None] = time.sleep,
        aside: Callable[[Callable[[], None]], object] = lambda call: call(),
        snapshot_every: int = SNAPSHOT_EVERY,
        incarnation: str = "",
    ) -> None:
        """A journal that has read nothing yet.

        Args:
            store: where it is.
            cluster: whose it is; batches of another cluster are refused.
            namespace: whose it is.
            writer: unique to this run of this process.
            clock: unix seconds, written for people and never relied on.
            pause: waits between tries.
            aside: makes the call that stores a snapshot, now or later, here or in a thread.
            snapshot_every: batches from one snapshot to the next.
            incarnation: of the installation that writes; another one's journal is not written to.
        """
        self.books = Books()
        self.head = Head()
        self.incarnation = incarnation
        self.claimed = ""
        """The incarnation that wrote last; empty where the journal is older than incarnations."""
        self.leased = (-1, 0)
        """The last batch with a lease that was folded in: its number, and its time in unix seconds."""
        self.alone_since = clock()
        """Our own clock, in unix seconds, as a batch of another writer was last folded in, or at first."""
        self.rejections: list[Rejection] = []
        """Others' entries that break the rules, as far as they were read; empty unless there is a bug."""
        self._store = store
        self._cluster = cluster
        self._namespace = namespace
        self._writer = writer
        self._clock = clock
        self._pause = pause
        self._aside = aside
        self._every = snapshot_every
        self._recorder = Recorder(cluster, namespace)
        self._taken: Taken | None = None
        self._batches = self._entries = 0
        """Folded in since the chain last had a state."""
        self._opened = False

    def catch_up(self) -> None:
        """Fold in every batch after the head; the first time, from the newest snapshot on.

        Raises:
            ForeignJournal: a batch is another cluster's or namespace's.
            BrokenChain: a batch is missing, altered or out of place; those before it are folded in.
            NewerRelease: a newer release wrote a batch; those before it are folded in.
            Unavailable: the store could not be read; those that could are folded in.
        """
        if not self._opened:
            self._start()
        while (data := self._read(self.head.sequence + 1)) is not None:
            self._fold(data)
        if not self._opened:
            self._refuse_gap()
            self._opened = True

    def append(self, entries: Sequence[Entry]) -> bool:
        """Make `entries` durable, in this order, directly after the head.

        They are one batch, or as few as can hold them; a later one is written only when those before it are
        durable.

        Returns:
            Whether all are durable and folded in. If not, another writer took a number; its batch is folded
            in instead, and the caller plans again: batches before that number are durable.

        Raises:
            Rejected: the books would reject an entry, or it is too large; then nothing was written.
            Unavailable: nothing was seen to change. A write whose reply was lost may still surface: call
                `catch_up` before planning again, as always.
            ForeignJournal: as in `catch_up`; also where another installation wrote last, unless the first of
                `entries` takes the journal over.
            BrokenChain, NewerRelease: as in `catch_up`.
        """
        if not self._opened:
            # Before the first look nobody knows which number is free; a gap must not be filled.
            planned_on = self.head
            self.catch_up()
            if self.head != planned_on:
                return False
        if self.foreign and not any(isinstance(entry, Takeover) for entry in entries[:1]):
            raise ForeignJournal(
                f"the journal of {self._namespace} is written by installation {self.claimed!r},"
                f" this is {self.incarnation!r}"
            )
        if (refused := self.books.refusal(entries)) is not None:
            entry, rule = refused
            raise Rejected(f"{entry.id}: {rule}")
        batches = packed(entries)
        for part, encoded in batches:
            if len(encoded[0]) > MAX_ENTRY:
                raise Rejected(f"{part[0].id}: {len(encoded[0])} bytes are more than {MAX_ENTRY}")
        return all(self._append(tuple(part), encoded) for part, encoded in batches)

    @property
    def foreign(self) -> bool:
        """Return whether another installation wrote last."""
        return self.claimed not in {"", self.incarnation}

    def hash_of(self, sequence: int) -> str | None:
        """The hash of the batch that is stored at `sequence`, or `None` if there is no batch.

        Raises:
            Unavailable: the store could not be read.
        """
        data = self._read(sequence)
        return None if data is None else digest(data)

    def _append(self, entries: tuple[Entry, ...], encoded: Sequence[bytes]) -> bool:
        """Append one batch; whether it was this one that took the number."""
        due = self._batches >= self._every or self._entries >= self._every * _ENTRIES_A_BATCH
        taken = self._state() if due else None
        batch = Batch(
            cluster=self._cluster,
            incarnation=self.incarnation,
            namespace=self._namespace,
            sequence=self.head.sequence + 1,
            previous=self.head.hash,
            writer=self._writer,
            time=self._clock(),
            state=taken and taken.state,
            entries=entries,
        )
        won = self._write(assemble(batch, encoded))
        if won and taken is not None:
            # Only now does the chain vouch for it.
            self._aside(lambda: snapshots.keep(self._store, self._namespace, taken))
        return won

    def _write(self, data: bytes) -> bool:
        """Write one batch at the next number, or fold in the one that is there."""
        sequence = self.head.sequence + 1
        stored = self._settle(sequence, data)
        self._fold(stored)
        return stored == data

    def _settle(self, sequence: int, data: bytes) -> bytes:
        """Return the batch at `sequence`, whose number is taken: `data`, or another writer's batch.

        Trying again is safe only because the bytes and the number are the same, and because the stored batch
        is compared with them: neither a lost reply nor a late arrival makes two of one batch.
        """
        key, reason = journal_key(self._namespace, sequence), ""
        for attempt in range(_TRIES):
            if attempt:
                self._pause(_FIRST_PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1))
            try:
                self._store.create(key, data)
            except Conflict as error:
                reason = str(error)
            except (Exists, Ambiguous) as error:
                # Where the key exists, it may be by this very batch: the reply to an earlier try was lost.
                stored = self._read(sequence)
                if stored is not None:
                    return stored
                reason = f"{type(error).__name__}: {error}"
            else:
                return data
        raise Unavailable(f"{key}: no certain answer in {_TRIES} tries; the last: {reason}")

    def _read(self, sequence: int) -> bytes | None:
        return self._store.get(journal_key(self._namespace, sequence), MAX_BATCH)

    def _start(self) -> None:
        """Fold in what is there to begin with, a snapshot first where nothing is folded in yet."""
        if self.head.sequence < 0:
            found = snapshots.newest(self._store, self._cluster, self._namespace)
            if found is not None:
                self.books, self.head = found.restored.books, found.restored.head
                self._recorder, self._taken = found.restored.recorder, found.taken
        with closing(self._store.get_many(self._listed(), MAX_BATCH)) as batches:
            for data in batches:
                if data is None:
                    break
                self._fold(data)

    def _listed(self) -> Iterator[str]:
        """The keys of the batches that follow the head, up to a gap."""
        expected = self.head.sequence + 1
        for key in self._store.keys(journal_prefix(self._namespace), self._last_key()):
            number = sequence_of(self._namespace, key)
            if number is not None:
                if number != expected:
                    return
                yield key
                expected += 1

    def _state(self) -> Taken:
        """The state at the head."""
        if self._taken is None or self._taken.head != self.head:
            self._taken = self._recorder.take(self.books, self.head)
        return self._taken

    def _fold(self, data: bytes) -> None:
        """Fold in the bytes at the number after the head; on an error nothing changes."""
        batch = following(self.head, data, self._cluster, self._namespace)
        if batch.state is not None and batch.state.version == VERSION:
            if batch.state != self._state().state:
                raise BrokenChain(
                    f"batch {batch.sequence} of {self._namespace} vouches for other books than its journal's"
                )
            self._batches = self._entries = 0
        for entry in batch.entries:
            if (rule := self.books.apply(entry)) is not None:
                self.rejections.append(Rejection(batch.sequence, entry.id, rule))
        self._batches += 1
        self._entries += len(batch.entries)
        self.claimed = batch.incarnation or self.claimed
        if batch.writer != self._writer:
            self.alone_since = self._clock()
        if any(isinstance(entry, Reserve) for entry in batch.entries):
            self.leased = batch.sequence, batch.time
        self.head = Head(batch.sequence, digest(data))

    def _refuse_gap(self) -> None:
        """A batch beyond a missing one: writing on would fork the journal."""
        beyond = self._beyond(self._store.keys(journal_prefix(self._namespace), self._last_key()))
        if beyond is not None and self._read(self.head.sequence + 1) is None:
            raise BrokenChain(
                f"batch {self.head.sequence + 1} of {self._namespace} is missing, and batch {beyond} is there"
            )

    def _last_key(self) -> str:
        return journal_key(self._namespace, self.head.sequence) if self.head.sequence >= 0 else ""

    def _beyond(self, keys: Iterable[str]) -> int | None:
        """The first number after the head's in `keys`."""
        numbers = (sequence_of(self._namespace, key) for key in keys)
        return next((n for n in numbers if n is not None and n > self.head.sequence), None)
