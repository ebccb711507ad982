"""Snapshots shorten a start and never change its result."""

import gzip
import json
import random
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.ledger import snapshots
from comptroller.ledger.audit import verify
from comptroller.ledger.balance import balance, draw
from comptroller.ledger.encoding import canonical, digest, journal_key, journal_prefix
from comptroller.ledger.entries import Entry
from comptroller.ledger.journal import Journal
from comptroller.ledger.state import Recorder, inflate
from comptroller.ledger.store import StoreError
from comptroller.ledger.stores import MemoryStore
from comptroller.ledger.stores.faulty import Fault, FaultyStore
from comptroller.ledger.testing import (
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
from support.journals import EVERY, Reads, bare, filled, journal, kept, number, opened


def content(one: Journal) -> bytes:
    """Return the canonical form of the books of `one`, folded from nothing."""
    taken = Recorder("c", "ns").take(one.books, one.head)
    return inflate(taken.compressed, taken.state.size)


def lines(found: object) -> str:
    return canonical(asdict(found))  # type: ignore[call-overload]


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


def test_what_was_found_after_attempts_were_closed_is_in_a_snapshot() -> None:
    store = filled(batches=58, late=0.5)
    whole = verify(store, "ns").books
    assert whole.adjustments
    assert any(attempt.bound for attempt in whole.open.values())
    assert any(attempt.places for attempt in whole.open.values())
    assert opened(store).books == whole
