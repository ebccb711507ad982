"""The bytes of a batch: the same batch has the same bytes, and no other bytes are read as it."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.ledger.encoding import (
    GENESIS,
    MalformedBatch,
    decode,
    digest,
    encode,
    journal_key,
    sequence_of,
)
from comptroller.ledger.entries import Batch, Entry
from comptroller.ledger.testing import approval, ceiling, close, manifest, post, price, reserve, void

ENTRIES: tuple[Entry, ...] = (
    ceiling(100),
    price(),
    manifest(),
    approval(7),
    reserve(60),
    post(5),
    void(1),
    close(),
)


def batch(**changes: object) -> Batch:
    first = Batch(
        cluster="c", namespace="ns", sequence=0, previous=GENESIS, writer="w", time=1, entries=ENTRIES
    )
    return first.model_copy(update=changes)


def test_a_batch_comes_back_as_it_was() -> None:
    assert decode(encode(batch())) == batch()


def test_what_is_stored_is_json_that_any_tool_reads() -> None:
    stored = json.loads(encode(batch(writer="Jürgen")))
    assert stored["writer"] == "Jürgen"
    assert stored["entries"][0] == ceiling(100).model_dump()
    assert len(stored["checksum"]) == 64


def test_the_same_batch_has_the_same_bytes() -> None:
    assert encode(decode(encode(batch()))) == encode(batch())
    turned = price().model_copy(update={"rates": dict(reversed(price().rates.items()))})
    assert encode(batch(entries=(turned,))) == encode(batch(entries=(price(),)))


@given(st.data())
def test_no_changed_byte_is_accepted(data: st.DataObject) -> None:
    stored = bytearray(encode(batch()))
    at = data.draw(st.integers(0, len(stored) - 1))
    stored[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(MalformedBatch):
        decode(bytes(stored))


@given(st.integers(0, 3000), st.integers(0, 3000), st.binary(max_size=20))
def test_no_cut_and_no_insertion_is_accepted(start: int, end: int, between: bytes) -> None:
    stored = encode(batch())
    start, end = sorted((min(start, len(stored)), min(end, len(stored))))
    changed = stored[:start] + between + stored[end:]
    if changed != stored:
        with pytest.raises(MalformedBatch):
            decode(changed)


def test_every_changed_bit_of_a_small_batch_is_found() -> None:
    stored = encode(batch(entries=(void(),)))
    for at in range(len(stored) * 8):
        changed = bytearray(stored)
        changed[at // 8] ^= 1 << at % 8
        with pytest.raises(MalformedBatch):
            decode(bytes(changed))


@pytest.mark.parametrize(
    "change",
    [{"version": 0}, {"more": 1}, {"entries": []}, {"sequence": -1}, {"entries": [{"kind": "Gift"}]}],
)
def test_a_batch_of_another_shape_is_refused_with_its_place(change: dict[str, object]) -> None:
    stored = json.loads(encode(batch()))
    del stored["checksum"]
    body = json.dumps(stored | change).encode()
    with pytest.raises(MalformedBatch, match=next(iter(change))):
        decode(body[:-1] + b',"checksum":"%s"}' % digest(body).encode())


def test_keys_sort_as_numbers_do() -> None:
    numbers = [random.Random(0).randrange(10**12) for _ in range(100)]
    keys = sorted(journal_key("ns", n) for n in numbers)
    assert [sequence_of("ns", key) for key in keys] == sorted(numbers)


@pytest.mark.parametrize(
    "name", ["1.json", "0000000000001.json", "000000000001.JSON", "000000000001.json\n", "x"]
)
def test_a_key_that_is_not_a_batch_has_no_number(name: str) -> None:
    assert sequence_of("ns", f"ledger/ns/journal/{name}") is None
    assert sequence_of("other", "ledger/ns/journal/000000000001.json") is None
