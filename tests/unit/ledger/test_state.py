"""The books as a state in bytes, and back."""

import gzip
import random

import pytest

from comptroller.ledger.books import Books
from comptroller.ledger.encoding import Head, digest
from comptroller.ledger.entries import State
from comptroller.ledger.state import Recorder, UnreadableState, restore
from comptroller.ledger.testing import plausible


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
