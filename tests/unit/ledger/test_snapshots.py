"""Snapshots shorten a start and never change its result: one without its hash in the chain is skipped."""

import gzip
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.ledger import snapshots
from comptroller.ledger.audit import verify
from comptroller.ledger.balance import balance, draw
from comptroller.ledger.books import Books
from comptroller.ledger.chain import BrokenChain
from comptroller.ledger.encoding import Head, canonical, decode, digest, encode, journal_key, journal_prefix
from comptroller.ledger.entries import Batch, Entry, State
from comptroller.ledger.journal import Journal
from comptroller.ledger.snapshots import snapshot_key, snapshot_prefix
from comptroller.ledger.state import Recorder, UnreadableState, inflate, restore
from comptroller.ledger.store import StoreError
from comptroller.ledger.stores import MemoryStore
from comptroller.ledger.stores.faulty import Fault, FaultyStore
from comptroller.ledger.testing import (
    ACCOUNT,
    approval,
    ceiling,
    close,
    manifest,
    plausible,
    post,
    price,
    reserve,
    void,
)

EVERY = 3


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
    return sorted(key for key in store.objects if key.startswith(snapshot_prefix("ns")))


def content(one: Journal) -> bytes:
    """Return the canonical form of the books of `one`, folded from nothing."""
    taken = Recorder("c", "ns").take(one.books, one.head)
    return inflate(taken.compressed, taken.state.size)


class Reads:
    """A store that counts its reads."""

    def __init__(self, store: MemoryStore) -> None:
        self.keys: list[str] = []
        self.store = FaultyStore(store, self._fate)

    def _fate(self, operation: str, key: str) -> Fault:
        if operation == "get":
            self.keys.append(key)
        return Fault.NONE


def test_a_journal_starts_at_the_newest_snapshot_and_has_the_same_books() -> None:
    store = filled(40)
    reads = Reads(store)
    assert opened(reads.store).books == opened(bare(store)).books
    assert opened(reads.store).head == opened(bare(store)).head
    assert journal_key("ns", 0) not in reads.keys


def test_books_from_a_snapshot_know_the_numbers_of_every_studys_trials() -> None:
    books = opened(filled()).books
    assert books.trials
    for study in {study for study, _ in books.trials}:
        assert books.numbers(study) == {number for uid, number in books.trials if uid == study}
    assert books.numbers("another") == set()


def test_the_newest_few_stay() -> None:
    store = filled(40)
    assert len(kept(store)) == snapshots.KEPT
    numbers = [int(key.rpartition("/")[2][:12]) for key in kept(store)]
    assert max(numbers) >= 40 - 2 * EVERY


def test_many_entries_make_a_snapshot_due_as_many_batches_do() -> None:
    store = MemoryStore()
    one = journal(store, every=1)
    assert one.append([ceiling(10**9), *(reserve(1, trial) for trial in range(60))])
    assert one.append([post(1)])
    assert one.append([close()])
    assert kept(store)


def test_without_snapshots_nothing_is_lost() -> None:
    store = filled()
    before = opened(store)
    for key in kept(store):
        store.delete(key)
    assert opened(store).books == before.books
    assert verify(store, "ns").passed


def test_a_snapshot_is_lines_of_json_that_any_tool_reads() -> None:
    store = MemoryStore()
    one = journal(store)
    batches: list[list[Entry]] = [
        [manifest(), approval(7), ceiling(1_000), price()],
        [reserve(60), reserve(40, 1)],
        [post(20), close()],
        [void(1)],
    ]
    for entries in batches:
        assert one.append(entries)
    (key,) = kept(store)
    kind, attempt, rest = (json.loads(line) for line in gzip.decompress(store.objects[key]).splitlines())
    assert (kind["node_class"], kind["price"]) == ("cpu-small", price().model_dump())
    assert attempt[:3] == [0, 0, 0]
    assert (rest["sequence"], rest["hash"]) == (2, digest(store.objects[journal_key("ns", 2)]))
    assert rest["accounts"][0] | {"spent": 20, "held": 40, "requested": 1_000} == rest["accounts"][0]
    assert rest["manifests"] == [manifest().model_dump()]
    assert rest["approvals"] == [approval(7).model_dump()]
    assert len(rest["open"]) == 1


FAULTS = st.lists(st.sampled_from([Fault.NONE, Fault.NONE, Fault.NONE, *Fault]), min_size=1, max_size=40).map(
    lambda faults: [*faults, Fault.NONE]
)


@settings(max_examples=150)
@given(st.integers(1, 40), FAULTS, st.integers(0, 10**6), st.integers(1, 5))
def test_for_any_history_and_any_faults_books_from_a_snapshot_are_books_from_nothing(
    turns: int, faults: list[Fault], seed: int, every: int
) -> None:
    store, rng, at = MemoryStore(), random.Random(seed), iter(range(10**9))
    network = FaultyStore(store, lambda *_: faults[next(at) % len(faults)])
    writer = journal(network, "w", every=every)
    for turn in range(turns):
        try:
            writer.catch_up()
            writer.append(plausible(writer.books, rng))
        except StoreError:
            network.arrive()
        if rng.random() < 0.2:
            # It dies, and the next one starts from whatever it left.
            writer = journal(network, f"w{turn}", every=every)
    network.arrive()
    if not any(store.keys(journal_prefix("ns"))):
        return
    started, replayed = opened(store), opened(bare(store))
    assert started.head == replayed.head
    assert started.books == replayed.books
    assert content(started) == content(replayed)
    assert lines(draw(started.books, "ns")) == lines(replace(balance(store, "ns"), manifests=[]))
    assert verify(store, "ns").passed
    # A journal that began at a snapshot also accepts what a journal that read everything accepts.
    for one in (started, replayed):
        assert one.append(plausible(one.books, random.Random(1)))
        other = opened(store)
        assert other.books == one.books
        started.catch_up()
        replayed.catch_up()
    assert started._state().state == replayed._state().state


def lines(found: object) -> str:
    return canonical(asdict(found))  # type: ignore[call-overload]


def test_whatever_fails_while_a_snapshot_is_stored_the_append_is_done() -> None:
    for fault in (Fault.REFUSED, Fault.CONFLICT, Fault.LOST_REQUEST, Fault.LOST_REPLY, Fault.LATE):
        for operation in ("create", "keys", "delete"):
            store, rng = MemoryStore(), random.Random(1)

            def fate(called: str, key: str, o: str = operation, f: Fault = fault) -> Fault:
                return f if "snapshots" in key and called == o else Fault.NONE

            one = journal(FaultyStore(store, fate))
            one.catch_up()
            for _ in range(20):
                assert one.append(plausible(one.books, rng))
            assert opened(store).books == one.books


def test_where_snapshots_cannot_be_listed_or_read_the_journal_is_read_from_its_first_batch() -> None:
    store = filled()
    for operation in ("keys", "get"):

        def fate(called: str, key: str, o: str = operation) -> Fault:
            return Fault.REFUSED if called == o and "snapshots" in key else Fault.NONE

        assert opened(FaultyStore(store, fate)).books == opened(bare(store)).books


def test_a_snapshot_too_large_to_be_read_back_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "MAX_OBJECT", 10)
    assert kept(filled()) == []


def test_two_writers_may_store_the_same_snapshot() -> None:
    store = filled()
    key = kept(store)[-1]
    before = store.objects[key]
    one = opened(bare(store))
    snapshots.keep(store, "ns", Recorder("c", "ns").take(one.books, replace(one.head, sequence=number(key))))
    assert store.objects[key] == before


def number(key: str) -> int:
    return int(key.rpartition("/")[2][:12])


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


def test_nonsense_that_the_chain_vouches_for_is_unreadable_and_no_crash() -> None:
    for plain in (b"", b"\n", b"{}\n", b"[0]\n{}\n", b"1\n2\n", b'{"accounts":[]}\n', b"\xff\n"):
        state = State(version=1, size=len(plain), sha256=digest(plain))
        with pytest.raises(UnreadableState):
            restore(gzip.compress(plain), state)


def test_a_state_is_the_same_however_often_it_was_taken_before() -> None:
    rng, books, recorder = random.Random(5), Books(), Recorder("c", "ns")
    for sequence in range(60):
        for entry in plausible(books, rng):
            assert books.apply(entry) is None
        head = Head(sequence, f"{sequence:064x}")
        if rng.random() < 0.3:
            taken = recorder.take(books, head)
            fresh = Recorder("c", "ns").take(books, head)
            assert taken.state == fresh.state
            again = restore(taken.compressed, taken.state)
            assert (again.books, again.head) == (books, head)
            assert list(again.books.open) == list(books.open)
            if rng.random() < 0.5:
                books, recorder = again.books, again.recorder


def test_what_was_found_after_attempts_were_closed_is_in_a_snapshot() -> None:
    store = filled(batches=58, late=0.5)
    whole = verify(store, "ns").books
    assert whole.adjustments
    assert any(attempt.bound for attempt in whole.open.values())
    assert any(attempt.places for attempt in whole.open.values())
    assert opened(store).books == whole
