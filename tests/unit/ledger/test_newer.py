"""Batches of a newer release are reported as newer: nothing acts on them, or mistakes them for tampering."""

import json

import pytest

from comptroller.ledger.audit import Untrusted, trusted, verify
from comptroller.ledger.encoding import (
    GENESIS,
    Head,
    MalformedBatch,
    NewerBatch,
    canonical,
    decode,
    digest,
    encode,
    journal_key,
)
from comptroller.ledger.entries import FORMAT, Batch, Entry
from comptroller.ledger.journal import Journal, NewerRelease
from comptroller.ledger.stores import MemoryStore
from comptroller.ledger.testing import ACCOUNT, ceiling, post, reserve

NEWER = [
    {"version": FORMAT + 1},
    {"version": FORMAT + 7, "carbon": {"grams": 12}},
    {"version": FORMAT + 1, "entries": [{"kind": "Gift", "account": ACCOUNT}]},
    {"version": FORMAT + 1, "entries": [ceiling(5, 1).model_dump() | {"approvedBy": "somebody"}]},
    {"version": FORMAT + 1, "incarnation": {"id": "of another type"}},
]


def stored(head: Head, **changes: object) -> bytes:
    """Return the bytes of a batch after `head`, as a release with other formats might write it."""
    batch = Batch(
        cluster="c",
        namespace="ns",
        sequence=head.sequence + 1,
        previous=head.hash,
        writer="w",
        time=0,
        entries=(ceiling(100),),
    )
    members = json.loads(encode(batch)) | changes
    del members["checksum"]
    body = canonical(members).encode()
    return body[:-1] + b',"checksum":"%s"}' % digest(body).encode()


def journal(store: MemoryStore) -> Journal:
    return Journal(store, "c", "ns", "w", lambda: 7)


@pytest.mark.parametrize("changes", NEWER)
def test_a_batch_of_a_newer_release_is_newer_and_says_what_to_do(changes: dict[str, object]) -> None:
    version = changes["version"]
    with pytest.raises(
        NewerBatch, match=rf"newer release \(format {version}, this one reads up to {FORMAT}\): upgrade"
    ):
        decode(stored(Head(), **changes))


@pytest.mark.parametrize("changes", NEWER)
def test_what_the_newest_format_known_does_not_have_is_damage(changes: dict[str, object]) -> None:
    known = changes | {"version": FORMAT}
    if known == {"version": FORMAT}:
        known |= {"carbon": 1}
    with pytest.raises(MalformedBatch):
        decode(stored(Head(), **known))


def test_a_newer_batch_with_a_wrong_checksum_is_damage() -> None:
    data = stored(Head(), version=FORMAT + 1).replace(b'"writer":"w"', b'"writer":"x"')
    with pytest.raises(MalformedBatch):
        decode(data)


@pytest.mark.parametrize("changes", NEWER)
def test_a_journal_stops_before_a_newer_batch_and_writes_nothing_after_it(
    changes: dict[str, object],
) -> None:
    store = MemoryStore()
    first = journal(store)
    assert first.append([ceiling(100)])
    store.create(journal_key("ns", 1), stored(first.head, **changes))
    for one in (first, journal(store)):
        with pytest.raises(NewerRelease, match="batch 1 of ns: written by a newer release"):
            one.catch_up()
        with pytest.raises(NewerRelease):
            one.append([ceiling(200, 1)])
        assert one.head.sequence == 0
    assert len(store.objects) == 2


@pytest.mark.parametrize("changes", NEWER)
def test_verify_names_newer_batches_by_a_rule_of_their_own(changes: dict[str, object]) -> None:
    store = MemoryStore()
    first = journal(store)
    assert first.append([ceiling(100)])
    store.create(journal_key("ns", 1), stored(first.head, **changes))
    verdict = verify(store, "ns")
    assert [(v.sequence, v.rule) for v in verdict.violations] == [(1, "Newer")]
    with pytest.raises(Untrusted, match=r"batch 1: written by a newer release .*: upgrade$"):
        trusted(store, "ns")


def test_a_journal_without_incarnations_folds_to_the_same_books_and_continues() -> None:
    store, head = MemoryStore(), Head()
    batches: list[list[Entry]] = [[ceiling(100), reserve(60)], [post(20)]]
    for number, entries in enumerate(batches):
        members = [entry.model_dump(mode="json") for entry in entries]
        data = stored(head, version=1, entries=members)
        data = _without(data, "incarnation")
        store.create(journal_key("ns", number), data)
        head = Head(number, digest(data))
    one = Journal(store, "c", "ns", "w", lambda: 7, incarnation="first")
    one.catch_up()
    assert one.books.accounts[ACCOUNT].spent == 20
    assert one.append([ceiling(200, 1)])
    assert one.claimed == "first"
    verdict = verify(store, "ns")
    assert verdict.passed
    assert verdict.books == one.books
    assert decode(store.objects[journal_key("ns", 0)]).previous == GENESIS


def _without(data: bytes, member: str) -> bytes:
    members = json.loads(data)
    del members[member], members["checksum"]
    body = canonical(members).encode()
    return body[:-1] + b',"checksum":"%s"}' % digest(body).encode()
