"""An audit finds every change of a journal, and names the batch."""

import random

import pytest

from comptroller.ledger.audit import Untrusted, Verdict, namespaces, trusted, verify
from comptroller.ledger.encoding import GENESIS, Head, decode, digest, encode, journal_key
from comptroller.ledger.entries import Batch, Entry
from comptroller.ledger.journal import Journal
from comptroller.ledger.stores import MemoryStore
from comptroller.ledger.testing import ceiling, close, plausible, post, reserve, void


def filled(batches: int = 12, seed: int = 0) -> MemoryStore:
    store, rng = MemoryStore(), random.Random(seed)
    journal = Journal(store, "c", "ns", "w", lambda: 1_790_000_000)
    journal.catch_up()
    for _ in range(batches):
        assert journal.append(plausible(journal.books, rng))
    return store


def forged(*batches: tuple[Entry, ...]) -> MemoryStore:
    """Return a journal with a complete chain, whatever its content."""
    store, previous = MemoryStore(), GENESIS
    for sequence, entries in enumerate(batches):
        batch = Batch(
            cluster="c",
            namespace="ns",
            sequence=sequence,
            previous=previous,
            writer="w",
            time=0,
            entries=entries,
        )
        data = encode(batch)
        store.create(journal_key("ns", sequence), data)
        previous = digest(data)
    return store


def found(store: MemoryStore, anchor: Head | None = None) -> list[tuple[int, str]]:
    return [(v.sequence, v.rule) for v in verify(store, "ns", anchor=anchor).violations]


def test_a_whole_journal_passes() -> None:
    store = filled()
    verdict = verify(store, "ns")
    assert verdict.passed
    assert (verdict.batches, verdict.head.sequence, verdict.cluster) == (12, 11, "c")
    assert verdict.entries == sum(len(decode(data).entries) for data in store.objects.values())
    assert verdict.head.hash == digest(store.objects[journal_key("ns", 11)])


def test_an_empty_store_does_not_pass_as_a_ledger() -> None:
    assert found(MemoryStore()) == [(0, "Missing")]
    with pytest.raises(Untrusted, match=r"no journal: ledger/ns/journal/000000000000\.json does not exist"):
        trusted(MemoryStore(), "ns")


def test_an_object_that_is_not_a_batch_is_named() -> None:
    store = filled()
    store.objects["ledger/ns/journal/notes.txt"] = b"hello"
    assert [(v.rule, "notes.txt" in v.detail) for v in verify(store, "ns").violations] == [("Foreign", True)]


def test_a_batch_of_another_cluster_is_foreign() -> None:
    store = filled(3)
    other = decode(store.objects[journal_key("ns", 2)]).model_copy(update={"cluster": "theirs"})
    store.objects[journal_key("ns", 2)] = encode(other)
    assert found(store) == [(2, "Foreign")]


def test_a_journal_that_was_cut_short_is_found_by_its_anchor_alone() -> None:
    store = filled(6)
    head = verify(store, "ns").head
    assert found(store, head) == []
    del store.objects[journal_key("ns", 5)]
    assert found(store) == []
    assert found(store, head) == [(5, "Anchor")]


def test_a_rewritten_journal_is_found_only_by_its_anchor() -> None:
    head = verify(forged((ceiling(100),), (reserve(60),)), "ns").head
    rewritten = forged((ceiling(900),), (reserve(60),), (void(),))
    assert found(rewritten) == []
    assert found(rewritten, head) == [(1, "Anchor")]


def test_what_the_books_reject_is_a_violation() -> None:
    store = forged((ceiling(100),), (reserve(101),), (reserve(30),), (post(10), post(10)))
    assert found(store) == [(1, "Rejected"), (3, "Rejected")]
    assert not verify(store, "ns").structural


def test_an_overrun_is_a_violation_and_so_is_the_ceiling_it_breaks() -> None:
    store = forged((ceiling(100),), (reserve(60), reserve(30, 1)), (post(65, overrun=True),), (close(),))
    assert found(store) == [(2, "Overrun")]
    store = forged((ceiling(100),), (reserve(60), reserve(30, 1)), (post(75, overrun=True),), (post(1, 1),))
    assert found(store) == [(2, "Overrun"), (2, "OverCeiling")]


def test_after_a_damage_the_books_are_not_believed() -> None:
    store = filled()
    del store.objects[journal_key("ns", 4)]
    with pytest.raises(Untrusted, match="batch 4: Missing"):
        trusted(store, "ns")


def test_later_damage_is_found_as_well() -> None:
    store = filled()
    del store.objects[journal_key("ns", 2)]
    store.objects[journal_key("ns", 7)] = b"{}"
    del store.objects[journal_key("ns", 9)]
    assert found(store) == [(2, "Missing"), (7, "Malformed"), (9, "Missing")]


def test_a_batch_of_unbelievable_size_is_malformed_and_not_parsed() -> None:
    store = filled(2)
    store.objects[journal_key("ns", 1)] = b"[" * (2**20 + 1)
    assert found(store) == [(1, "Malformed")]


def test_namespaces_are_found_by_their_journals() -> None:
    store = MemoryStore()
    store.probe()
    for name in ("b", "a", "a-b", "a.b", "a0", "z"):
        for sequence in range(3):
            store.create(journal_key(name, sequence), b"x")
    store.create("other/thing", b"x")
    assert sorted(namespaces(store)) == ["a", "a-b", "a.b", "a0", "b", "z"]


def test_the_audit_sees_the_books_that_the_writer_has() -> None:
    store = filled()
    journal = Journal(store, "c", "ns", "r", lambda: 0)
    journal.catch_up()
    verdict: Verdict = trusted(store, "ns")
    assert verdict.books == journal.books
    assert verdict.head == journal.head
