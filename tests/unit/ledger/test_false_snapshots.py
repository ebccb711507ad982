"""A snapshot without its hash in the chain is skipped, and `verify` reports every false one."""

import gzip
import json
import random
from collections.abc import Callable, Iterable

import pytest

from comptroller.ledger.audit import verify
from comptroller.ledger.books import Books
from comptroller.ledger.chain import BrokenChain
from comptroller.ledger.encoding import Head, canonical, decode, digest, encode, journal_key
from comptroller.ledger.entries import Batch, Entry, State
from comptroller.ledger.snapshots import snapshot_key
from comptroller.ledger.state import Recorder
from comptroller.ledger.stores import MemoryStore
from comptroller.ledger.testing import ACCOUNT, ceiling, plausible, post, reserve
from support.journals import Reads, bare, filled, journal, kept, number, opened


def regzipped(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Forge a snapshot with full knowledge of the format: every checksum of the file itself is right."""
    return gzip.compress(change(gzip.decompress(data)), mtime=0)


def richer(plain: bytes) -> bytes:
    *closed, last = plain.splitlines(keepends=True)
    rest = json.loads(last)
    rest["accounts"] = [{**line, "spent": 0, "held": 0, "requested": 10**9} for line in rest["accounts"]]
    return b"".join(closed) + canonical(rest).encode() + b"\n"


def elsewhere(seed: int, cluster: str = "c") -> Callable[[bytes], bytes]:
    other = filled(seed=seed, cluster=cluster)
    return lambda _: other.objects[kept(other)[-1]]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "without its last byte": lambda data: data[:-1],
    "with a byte more": lambda data: data + b"\0",
    "twice": lambda data: data + data,
    "with a flipped byte": lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    "not compressed": gzip.decompress,
    "forged with a right checksum": lambda data: regzipped(data, richer),
    "without a closed attempt": lambda data: regzipped(data, lambda plain: plain.partition(b"\n")[2]),
    "with a closed attempt twice": lambda data: regzipped(data, lambda p: p.split(b"\n")[0] + b"\n" + p),
    "larger than all memory": lambda _: gzip.compress(b"\0" * 2**24),
    "of another chain": elsewhere(99),
    "of another cluster": elsewhere(0, "theirs"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
@pytest.mark.parametrize("which", ["the newest", "all"])
def test_a_snapshot_without_its_hash_in_the_chain_is_skipped_and_reported_by_verify(
    damage: Callable[[bytes], bytes], which: str
) -> None:
    store = filled()
    damaged = kept(store) if which == "all" else kept(store)[-1:]
    for key in damaged:
        store.objects[key] = damage(store.objects[key])
    reads = Reads(store)
    assert opened(reads.store).books == opened(bare(store)).books
    assert (journal_key("ns", 0) in reads.keys) == (which == "all")
    found = [(v.sequence, v.rule) for v in verify(store, "ns").violations]
    assert found == [(number(key), "Snapshot") for key in damaged]
    assert not verify(store, "ns").structural


def test_a_snapshot_moved_to_another_number_is_skipped_and_reported() -> None:
    store = filled()
    key = kept(store)[-1]
    store.objects[snapshot_key("ns", number(key) - 1)] = store.objects[key]
    store.objects["ledger/ns/snapshots/notes.txt"] = b"hello"
    assert opened(store).books == opened(bare(store)).books
    assert {(v.sequence, v.rule) for v in verify(store, "ns").violations} == {
        (number(key) - 1, "Snapshot"),
        (0, "Snapshot"),
    }


def test_a_snapshot_of_a_forked_history_is_passed_over() -> None:
    store = filled(6, seed=3)
    fork = MemoryStore()
    fork.objects = dict(store.objects)
    for one, seed in ((journal(store, "a"), 1), (journal(fork, "b"), 2)):
        one.catch_up()
        for _ in range(6):
            assert one.append(plausible(one.books, random.Random(seed)))
    key = kept(fork)[-1]
    assert key == kept(store)[-1]
    store.objects[key] = fork.objects[key]
    assert opened(store).books == opened(bare(store)).books
    assert [v.rule for v in verify(store, "ns").violations] == ["Snapshot"]


def test_a_snapshot_whose_own_batch_was_exchanged_is_passed_over() -> None:
    store = filled()
    sequence = number(kept(store)[-1])
    forged = decode(store.objects[journal_key("ns", sequence)]).model_copy(update={"time": 1})
    store.objects[journal_key("ns", sequence)] = encode(forged)
    with pytest.raises(BrokenChain, match=f"batch {sequence + 1} of ns does not follow"):
        opened(store)


def test_a_snapshot_beyond_the_end_tells_verify_that_the_journal_was_cut_off() -> None:
    store = filled()
    last = number(kept(store)[-1])
    for sequence in range(last, 11):
        del store.objects[journal_key("ns", sequence)]
    assert opened(store).head.sequence == last - 1
    violations = verify(store, "ns").violations
    assert [(v.sequence, v.rule) for v in violations] == [(last, "Snapshot")]
    assert "was it cut off?" in violations[0].detail


def chained(store: MemoryStore, batches: Iterable[tuple[State | None, tuple[Entry, ...]]]) -> None:
    """Append more batches after those of `store`, whatever their content."""
    head = opened(store).head
    for state, entries in batches:
        batch = Batch(
            cluster="c",
            namespace="ns",
            sequence=head.sequence + 1,
            previous=head.hash,
            writer="w",
            time=0,
            state=state,
            entries=entries,
        )
        data = encode(batch)
        store.create(journal_key("ns", batch.sequence), data)
        head = Head(batch.sequence, digest(data))


def test_a_batch_that_vouches_for_other_books_is_a_broken_chain() -> None:
    store = MemoryStore()
    assert journal(store).append([ceiling(100)])
    lie = Recorder("c", "ns").take(Books(), opened(store).head)
    chained(store, [(lie.state, (reserve(60),))])
    with pytest.raises(BrokenChain, match="batch 1 of ns vouches for other books"):
        opened(store)
    assert [(v.sequence, v.rule) for v in verify(store, "ns").violations] == [(1, "State")]


def test_a_false_snapshot_with_its_hash_in_the_chain_is_reported_only_by_verify() -> None:
    # An account that can do this can write any journal at all; `verify` reads it from its first batch.
    store = MemoryStore()
    assert journal(store).append([ceiling(100), reserve(60)])
    head, books = opened(store).head, Books()
    assert books.apply(ceiling(10**9)) is None
    lie = Recorder("c", "ns").take(books, head)
    chained(store, [(lie.state, (ceiling(10**9, 1),))])
    store.objects[snapshot_key("ns", 0)] = lie.compressed
    assert opened(store).books.accounts[ACCOUNT].held == 0
    assert ("State", 1) in {(v.rule, v.sequence) for v in verify(store, "ns").violations}


def test_a_state_of_another_release_is_neither_believed_nor_checked() -> None:
    store = MemoryStore()
    assert journal(store).append([ceiling(100), reserve(60)])
    theirs = State(version=99, size=5, sha256="a" * 64)
    chained(store, [(theirs, (post(1),))])
    store.objects[snapshot_key("ns", 0)] = gzip.compress(b"what?")
    assert opened(store).books.accounts[ACCOUNT].spent == 1
    assert verify(store, "ns").passed
