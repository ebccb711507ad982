"""Reading a journal as an auditor does: nothing is believed, and all that is wrong is named.

What the bytes alone can prove: a batch that was altered, lost, moved, repeated, or put in the middle breaks
its checksum, its number or the chain. What they cannot: that the last batches were cut off, or that someone
rewrote everything from some batch on. For that, keep the head that a verdict prints somewhere else, and give
it to a later `verify` as the anchor.

The books are folded from the first batch on, never from a snapshot; each state that the chain vouches for and
each snapshot is compared with them. Snapshots that were left in place tell of a journal that was cut off or
rewritten before them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Books
from comptroller.ledger.chain import JournalError
from comptroller.ledger.encoding import (
    GENESIS,
    Head,
    MalformedBatch,
    NewerBatch,
    decode,
    digest,
    journal_key,
    journal_prefix,
    sequence_of,
)
from comptroller.ledger.entries import Adjust, Batch, Entry, Post, State, Takeover
from comptroller.ledger.snapshots import snapshot_key, snapshot_prefix, stored
from comptroller.ledger.state import VERSION, Recorder, UnreadableState, inflate
from comptroller.ledger.store import MAX_OBJECT, Store, Unavailable

Rule: TypeAlias = Literal[
    "Missing",  # a number without a batch
    "Malformed",  # not the bytes that were written
    "Newer",  # in the format of a newer release: nothing is wrong with it, and nothing is known of it
    "Misplaced",  # it says it has another number
    "Foreign",  # of another cluster, namespace or installation, or no batch at all
    "Chain",  # not the batch that its successor was written after
    "Anchor",  # not what was noted earlier
    "State",  # it vouches for other books than those of the batches before it
    "Rejected",  # an entry against the rules of the books; it has no effect
    "Overrun",  # more was spent than was held
    "OverCeiling",  # spent and held are above the ceiling
    "Snapshot",  # it is not the state after this batch; the operator passes it over, and it can be deleted
]

STRUCTURAL: frozenset[Rule] = frozenset(
    {"Missing", "Malformed", "Newer", "Misplaced", "Foreign", "Chain", "Anchor", "State"}
)
"""The violations after which no balance can be trusted."""

Observer: TypeAlias = Callable[[Batch, Entry, Books], None]
"""Called with every accepted entry, and the books that include it."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong."""

    sequence: int
    """The batch it is about."""
    rule: Rule
    detail: str


@dataclass(slots=True)
class Verdict:
    """The result of an audit of one namespace."""

    namespace: str
    cluster: str = ""
    incarnation: str = ""
    """The installation that wrote last."""
    batches: int = 0
    entries: int = 0
    snapshots: int = 0
    head: Head = field(default_factory=Head)
    violations: list[Violation] = field(default_factory=list)
    books: Books = field(default_factory=Books)
    """Folded up to the first structural violation."""

    @property
    def passed(self) -> bool:
        """Return whether the audit found no fault."""
        return not self.violations

    @property
    def structural(self) -> list[Violation]:
        """The violations after which no balance can be trusted."""
        return [violation for violation in self.violations if violation.rule in STRUCTURAL]


class Untrusted(JournalError):  # noqa: N818 - says what it is
    """The journal is damaged, so that no balance can be drawn from it."""


def namespaces(store: Store) -> Iterator[str]:
    """Yield the namespaces that have a journal in `store`, or snapshots of one."""
    after = "ledger/"
    while (key := next(store.keys("ledger/", after), None)) is not None:
        _, namespace, *rest = key.split("/")
        if not rest:
            after = key
            continue
        # Snapshots alone are what is left of a journal that was deleted: it is for `verify` to say so.
        kept = (journal_prefix(namespace), snapshot_prefix(namespace))
        if any(next(store.keys(prefix), None) is not None for prefix in kept):
            yield namespace
        # `0` is the character after `/`: on to the first key of another namespace.
        after = f"ledger/{namespace}0"


def verify(
    store: Store, namespace: str, *, anchor: Head | None = None, observe: Observer | None = None
) -> Verdict:
    """Check every batch of a namespace's journal.

    Args:
        store: where it is.
        namespace: whose.
        anchor: a head that was noted earlier; it must still be in the chain.
        observe: called with every accepted entry, as long as the journal is whole.

    Raises:
        Unavailable: the store could not be read.
    """
    return _Audit(store, namespace, anchor, observe).run()


def trusted(store: Store, namespace: str, observe: Observer | None = None) -> Verdict:
    """Return the verdict of `verify`, for callers that need the books.

    Raises:
        Untrusted: there is no journal, or it is damaged.
        Unavailable: the store could not be read.
    """
    verdict = verify(store, namespace, observe=observe)
    if verdict.structural:
        first = verdict.structural[0]
        where = f"ledger {namespace}: batch {first.sequence}"
        if first.rule == "Newer":
            raise Untrusted(f"{where}: {first.detail}")
        raise Untrusted(f"{where}: {first.rule}: {first.detail}; run `ledger verify`")
    return verdict


class _Audit:
    def __init__(self, store: Store, namespace: str, anchor: Head | None, observe: Observer | None) -> None:
        self._store = store
        self._namespace = namespace
        self._anchor = anchor
        self._observe = observe
        self._verdict = Verdict(namespace)
        self._previous: str | None = GENESIS
        """The hash that the next batch must name; `None` where the one before is known to be wrong."""
        self._over: set[str] = set()
        self._recorder: Recorder | None = None
        self._snapshots: dict[int, State | None] = {}
        """The expected snapshot of each batch; `None` while the batch is not folded in."""

    def run(self) -> Verdict:
        verdict, expected = self._verdict, 0
        # First, since an operator that is alive makes batches and then snapshots of them.
        for key, number in stored(self._store, self._namespace):
            if number is None:
                self._violation(0, "Snapshot", f"{key} is not a snapshot's name")
            else:
                self._snapshots[number] = None
        for sequence, data in self._objects():
            if sequence > expected:
                self._missing(expected, sequence)
            self._batch(sequence, data)
            expected = sequence + 1
        if not verdict.batches:
            self._violation(0, "Missing", f"no journal: {journal_key(self._namespace, 0)} does not exist")
        if self._anchor is not None and self._anchor.sequence >= expected:
            detail = f"it was noted, and the journal ends before it, at {expected - 1}"
            self._violation(self._anchor.sequence, "Anchor", detail)
        self._compare_snapshots()
        return verdict

    def _objects(self) -> Iterator[tuple[int, bytes]]:
        """Each batch's number and bytes, in order."""
        numbers: list[int] = []
        for key in self._store.keys(journal_prefix(self._namespace)):
            number = sequence_of(self._namespace, key)
            if number is None:
                self._violation(self._verdict.head.sequence, "Foreign", f"{key} is not a batch's name")
            else:
                numbers.append(number)
        keys = [journal_key(self._namespace, number) for number in numbers]
        for number, data in zip(numbers, self._store.get_many(keys), strict=True):
            if data is not None:  # it vanished since it was listed: the gap is found by number
                yield number, data

    def _batch(self, sequence: int, data: bytes) -> None:
        verdict = self._verdict
        verdict.batches += 1
        batch = self._decoded(sequence, data)
        hashed = digest(data)
        if batch is None:
            self._previous = None
        else:
            if self._previous not in {None, batch.previous}:
                self._unlinked(sequence)
            self._previous = hashed
        if self._anchor is not None and self._anchor.sequence == sequence and self._anchor.hash != hashed:
            self._violation(sequence, "Anchor", f"it has hash {hashed}, {self._anchor.hash} was noted")
        if batch is not None and not verdict.structural:
            self._check_state(batch)
            self._fold(batch)
            verdict.head = Head(sequence, hashed)
            if sequence in self._snapshots:
                self._snapshots[sequence] = self._state()

    def _decoded(self, sequence: int, data: bytes) -> Batch | None:
        """Return the batch, or `None` once the verdict has its fault."""
        verdict = self._verdict
        try:
            batch = decode(data)
        except NewerBatch as error:
            self._violation(sequence, "Newer", str(error))
            return None
        except MalformedBatch as error:
            self._violation(sequence, "Malformed", str(error))
            return None
        verdict.cluster = verdict.cluster or batch.cluster
        if (batch.cluster, batch.namespace) != (verdict.cluster, self._namespace):
            detail = f"it is of {batch.cluster}/{batch.namespace}, the journal of {verdict.cluster}/"
            self._violation(sequence, "Foreign", detail + self._namespace)
            return None
        if batch.incarnation not in {"", verdict.incarnation}:
            if verdict.incarnation and not isinstance(batch.entries[0], Takeover):
                detail = f"installation {batch.incarnation!r} wrote it, without taking over from "
                self._violation(sequence, "Foreign", detail + repr(verdict.incarnation))
            verdict.incarnation = batch.incarnation
        if batch.sequence != sequence:
            self._violation(sequence, "Misplaced", f"it says that it is batch {batch.sequence}")
            return None
        return batch

    def _unlinked(self, sequence: int) -> None:
        """Two neighbours do not fit; it is the first that was altered, unless something vouches for it."""
        before = Head(sequence - 1, self._previous or GENESIS)
        if before in {Head(), self._anchor}:
            self._violation(sequence, "Chain", f"it was not written after batch {before.sequence}")
        else:
            detail = f"batch {sequence} was not written after these bytes"
            self._violation(before.sequence, "Chain", detail)

    def _state(self) -> State:
        """Return the state of the books at the head."""
        if self._recorder is None:
            self._recorder = Recorder(self._verdict.cluster, self._namespace)
        return self._recorder.take(self._verdict.books, self._verdict.head).state

    def _check_state(self, batch: Batch) -> None:
        if batch.state is None:
            return
        if batch.state.version != VERSION:
            # By another release, whose form of the books is not known here.
            self._snapshots.pop(batch.sequence - 1, None)
        elif batch.state != self._state():
            self._violation(batch.sequence, "State", "it vouches for other books than the batches before it")

    def _compare_snapshots(self) -> None:
        for sequence, expected in self._snapshots.items():
            if expected is not None:
                try:
                    self._compare(sequence, expected)
                except (Unavailable, UnreadableState) as error:
                    self._violation(sequence, "Snapshot", str(error))
            elif not self._verdict.structural:
                detail = f"the journal ends before it, at {self._verdict.head.sequence}: was it cut off?"
                self._violation(sequence, "Snapshot", detail)

    def _compare(self, sequence: int, expected: State) -> None:
        compressed = self._store.get(snapshot_key(self._namespace, sequence), MAX_OBJECT)
        if compressed is None:  # deleted since it was listed, as old ones are
            return
        self._verdict.snapshots += 1
        if digest(inflate(compressed, expected.size)) != expected.sha256:
            self._violation(sequence, "Snapshot", "it is not the state after this batch")

    def _fold(self, batch: Batch) -> None:
        books = self._verdict.books
        for entry in batch.entries:
            self._verdict.entries += 1
            touched = books.touched(entry)
            if (rule := books.apply(entry)) is not None:
                self._violation(batch.sequence, "Rejected", f"{entry.id}: {rule}")
                continue
            if isinstance(entry, Adjust):
                detail = f"{entry.id}: {entry.amount} was found after the attempt was closed: {entry.reason}"
                self._violation(batch.sequence, "Overrun", detail)
            if isinstance(entry, Post) and entry.overrun:
                self._violation(
                    batch.sequence, "Overrun", f"{entry.id}: {entry.amount} is more than was held"
                )
            for name in touched:
                self._ceiling(batch.sequence, entry, name)
            if self._observe is not None:
                self._observe(batch, entry, books)

    def _ceiling(self, sequence: int, entry: Entry, name: AccountName) -> None:
        account = self._verdict.books.accounts[name]
        if not account.over:
            self._over.discard(name)
        elif name not in self._over:
            self._over.add(name)
            sums = f"{account.spent} spent and {account.held} held of {account.ceiling}"
            self._violation(sequence, "OverCeiling", f"{entry.id}: {name} has {sums}")

    def _missing(self, first: int, beyond: int) -> None:
        count = beyond - first
        detail = "it is not there" if count == 1 else f"it and the {count - 1} after it are not there"
        self._violation(first, "Missing", f"{detail}, and batch {beyond} is")
        self._previous = None

    def _violation(self, sequence: int, rule: Rule, detail: str) -> None:
        self._verdict.violations.append(Violation(sequence, rule, detail))
