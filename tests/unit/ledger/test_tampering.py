"""A thousand ways to tamper with a journal: `verify` finds each and names the batch."""

import functools
import gzip
import json
import random
import re
from collections.abc import Callable
from typing import NamedTuple

from comptroller.ledger.audit import verify
from comptroller.ledger.encoding import Head, canonical, decode, digest, encode, journal_key, journal_prefix
from comptroller.ledger.entries import Batch, Entry, Membership
from comptroller.ledger.journal import Journal
from comptroller.ledger.snapshots import snapshot_prefix
from comptroller.ledger.stores import MemoryStore
from comptroller.ledger.testing import ceiling, plausible

SEEDS = 1_000
BATCHES = 12


class Original(NamedTuple):
    """A complete journal with its snapshots; an auditor noted its head."""

    batches: tuple[bytes, ...]
    snapshots: dict[str, bytes]

    @property
    def head(self) -> Head:
        return Head(len(self.batches) - 1, digest(self.batches[-1]))


@functools.cache
def original(seed: int, cluster: str = "c") -> Original:
    store, rng = MemoryStore(), random.Random(seed)
    journal = Journal(store, cluster, "ns", "w", lambda: 1_790_000_000, snapshot_every=3)
    journal.catch_up()
    for _ in range(BATCHES):
        assert journal.append(plausible(journal.books, rng))
    keys = sorted(store.objects)
    return Original(
        tuple(store.objects[key] for key in keys if key.startswith(journal_prefix("ns"))),
        {key: store.objects[key] for key in keys if key.startswith(snapshot_prefix("ns"))},
    )


class Tampered:
    """A copy to tamper with. Each way returns the number of the batch that must be named."""

    def __init__(self, whole: Original, rng: random.Random) -> None:
        self.whole = whole
        self.rng = rng
        self.batches: list[bytes | None] = list(whole.batches)
        self.snapshots = dict(whole.snapshots)
        self.at = rng.randrange(len(whole.batches))

    def bytes_at(self, at: int) -> bytes:
        data = self.batches[at]
        assert data is not None
        return data

    def other(self) -> int:
        return self.rng.choice([n for n in range(len(self.batches)) if n != self.at])

    def store(self) -> MemoryStore:
        store = MemoryStore()
        store.objects = {
            journal_key("ns", n): data for n, data in enumerate(self.batches) if data is not None
        }
        store.objects |= self.snapshots
        return store

    def rechain(self, first: int) -> None:
        """Link every batch from `first` on to the one before, with right checksums."""
        for n in range(first, len(self.batches)):
            previous = digest(self.bytes_at(n - 1)) if n else "0" * 64
            self.batches[n] = encode(decode(self.bytes_at(n)).model_copy(update={"previous": previous}))


def flip_a_bit(t: Tampered) -> int:
    data = bytearray(t.bytes_at(t.at))
    data[t.rng.randrange(len(data))] ^= 1 << t.rng.randrange(8)
    t.batches[t.at] = bytes(data)
    return t.at


def change_a_digit(t: Tampered) -> int:
    """Edit an amount by hand, into another valid amount."""
    data = bytearray(t.bytes_at(t.at))
    place = t.rng.choice([found.start() for found in re.finditer(rb"[0-9]", data)])
    data[place] = t.rng.choice([digit for digit in b"0123456789" if digit != data[place]])
    t.batches[t.at] = bytes(data)
    return t.at


def cut_short(t: Tampered) -> int:
    data = t.bytes_at(t.at)
    t.batches[t.at] = data[: t.rng.randrange(len(data))]
    return t.at


def add_bytes(t: Tampered) -> int:
    t.batches[t.at] = t.bytes_at(t.at) + t.rng.choice([b" ", b"\n", b"{}", b"\0"])
    return t.at


def drop_a_batch(t: Tampered) -> int:
    t.batches[t.at] = None
    return t.at


def drop_a_batch_and_close_the_gap(t: Tampered) -> int:
    t.at = t.rng.randrange(len(t.batches) - 1)
    del t.batches[t.at]
    return t.at


def truncate_the_tail(t: Tampered) -> int:
    del t.batches[t.rng.randint(1, len(t.batches) - 1) :]
    return t.whole.head.sequence


def truncate_the_tail_and_drop_what_tells(t: Tampered) -> int:
    t.snapshots = {}
    return truncate_the_tail(t)


def swap_two(t: Tampered) -> int:
    other = t.other()
    t.batches[t.at], t.batches[other] = t.batches[other], t.batches[t.at]
    return min(t.at, other)


def replace_by_another(t: Tampered) -> int:
    t.batches[t.at] = t.batches[t.other()]
    return t.at


def duplicate_in_place(t: Tampered) -> int:
    t.batches.insert(t.at, t.batches[t.at])
    return t.at + 1


def duplicate_at_the_end(t: Tampered) -> int:
    t.batches.append(t.batches[t.at])
    return len(t.batches) - 1


def forge(t: Tampered, **changes: object) -> bytes:
    """Return the batch with a right checksum, whatever was changed."""
    return encode(decode(t.bytes_at(t.at)).model_copy(update=changes))


def forge_a_batch_with_a_wrong_previous(t: Tampered) -> int:
    t.batches[t.at] = forge(t, previous=digest(t.rng.randbytes(8)))
    return t.at


def forge_a_batch_with_a_wrong_number(t: Tampered) -> int:
    t.batches[t.at] = forge(t, sequence=t.at + t.rng.choice([-1, 1, 100]) if t.at else 1)
    return t.at


def append_a_forged_batch(t: Tampered) -> int:
    last = decode(t.bytes_at(len(t.batches) - 1))
    more = last.model_copy(update={"sequence": last.sequence + 1, "previous": digest(t.rng.randbytes(8))})
    t.batches.append(encode(more))
    return last.sequence + 1


def edit_an_entry_and_its_checksum(t: Tampered) -> int:
    t.batches[t.at] = forge(t, entries=edited(decode(t.bytes_at(t.at)), t.rng))
    return t.at


def edit_an_entry_and_rechain(t: Tampered) -> int:
    edit_an_entry_and_its_checksum(t)
    t.rechain(t.at + 1)
    return t.whole.head.sequence


def rewrite_without_a_batch(t: Tampered) -> int:
    """Remove a batch and rewrite all later ones, so that the chain is complete."""
    t.at = t.rng.randrange(len(t.batches) - 1)
    del t.batches[t.at]
    for n in range(t.at, len(t.batches)):
        t.batches[n] = encode(decode(t.bytes_at(n)).model_copy(update={"sequence": n, "state": None}))
    t.rechain(t.at)
    return t.whole.head.sequence


def edited(batch: Batch, rng: random.Random) -> tuple[Entry, ...]:
    """Change a number in one entry, or the name of an entry without numbers."""
    entries = list(batch.entries)
    at = rng.randrange(len(entries))
    if isinstance(entries[at], Membership):
        entries[at] = entries[at].model_copy(update={"budget": f"b{rng.randint(1, 99)}"})
        return tuple(entries)
    number = next(
        n
        for n in ("amount", "seconds", "generation", "lease", "revision", "at", "since")
        if hasattr(entries[at], n)
    )
    entries[at] = entries[at].model_copy(update={number: getattr(entries[at], number) + rng.randint(1, 99)})
    return tuple(entries)


def a_batch_of_another_cluster(t: Tampered) -> int:
    t.at = t.rng.randint(1, len(t.batches) - 1)
    t.batches[t.at] = forge(t, cluster="theirs")
    return t.at


def a_batch_of_another_namespace(t: Tampered) -> int:
    t.batches[t.at] = forge(t, namespace="theirs")
    return t.at


def the_journal_of_another_cluster(t: Tampered) -> int:
    """Replace the journal by a complete other one."""
    other = original(t.rng.randrange(5), "theirs")
    t.batches, t.snapshots = list(other.batches), dict(other.snapshots)
    return t.whole.head.sequence


def vouch_for_other_books(t: Tampered) -> int:
    t.at = t.rng.choice([n for n, data in enumerate(t.whole.batches) if decode(data).state])
    state = decode(t.bytes_at(t.at)).state
    assert state is not None
    t.batches[t.at] = forge(t, state=state.model_copy(update={"sha256": digest(t.rng.randbytes(8))}))
    t.rechain(t.at + 1)
    return t.at


def raise_a_ceiling_in_the_middle(t: Tampered) -> int:
    """Create money out of nothing, with a complete chain; only the anchor shows it."""
    t.at = t.rng.randrange(len(t.batches))
    batch = decode(t.bytes_at(t.at))
    t.batches[t.at] = forge(t, entries=(*batch.entries, ceiling(10**12, 0, "budget/mine")))
    t.rechain(t.at + 1)
    return t.whole.head.sequence


def a_snapshot(t: Tampered) -> str:
    return t.rng.choice(sorted(t.snapshots))


def number(key: str) -> int:
    return int(key.rpartition("/")[2][:12])


def flip_a_bit_of_a_snapshot(t: Tampered) -> int:
    key = a_snapshot(t)
    data = bytearray(t.snapshots[key])
    # The header's time and system and the stream's padding bits are excluded: they are no content.
    data[t.rng.randrange(10, len(data) - 9)] ^= 1 << t.rng.randrange(8)
    t.snapshots[key] = bytes(data)
    return number(key)


def forge_a_snapshot(t: Tampered) -> int:
    key = a_snapshot(t)
    *closed, last = gzip.decompress(t.snapshots[key]).splitlines(keepends=True)
    rest = json.loads(last)
    account = t.rng.choice(rest["accounts"])
    account["spent"] = max(0, account["spent"] - t.rng.randint(1, 999)) if account["spent"] else 1
    t.snapshots[key] = gzip.compress(b"".join(closed) + canonical(rest).encode() + b"\n")
    return number(key)


def a_snapshot_of_another_moment(t: Tampered) -> int:
    key, other = t.rng.sample(sorted(t.snapshots), 2)
    t.snapshots[key] = t.snapshots[other]
    return number(key)


WAYS: list[Callable[[Tampered], int]] = [
    flip_a_bit,
    change_a_digit,
    cut_short,
    add_bytes,
    drop_a_batch,
    drop_a_batch_and_close_the_gap,
    truncate_the_tail,
    truncate_the_tail_and_drop_what_tells,
    swap_two,
    replace_by_another,
    duplicate_in_place,
    duplicate_at_the_end,
    forge_a_batch_with_a_wrong_previous,
    forge_a_batch_with_a_wrong_number,
    append_a_forged_batch,
    edit_an_entry_and_its_checksum,
    edit_an_entry_and_rechain,
    rewrite_without_a_batch,
    a_batch_of_another_cluster,
    a_batch_of_another_namespace,
    the_journal_of_another_cluster,
    vouch_for_other_books,
    raise_a_ceiling_in_the_middle,
    flip_a_bit_of_a_snapshot,
    forge_a_snapshot,
    a_snapshot_of_another_moment,
]


def test_nothing_is_found_where_nothing_was_done() -> None:
    for seed in range(5):
        whole = original(seed)
        assert verify(Tampered(whole, random.Random(0)).store(), "ns", anchor=whole.head).passed


def test_of_a_thousand_corruptions_a_thousand_are_found_and_the_batch_is_named() -> None:
    missed = []
    for seed in range(SEEDS):
        rng = random.Random(seed)
        way = WAYS[seed % len(WAYS)]
        tampered = Tampered(original(rng.randrange(5)), rng)
        expected = way(tampered)
        verdict = verify(tampered.store(), "ns", anchor=tampered.whole.head)
        if expected not in {violation.sequence for violation in verdict.violations}:
            missed.append((seed, way.__name__, expected, verdict.violations))
    assert missed == []
