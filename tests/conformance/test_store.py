"""The contract of `Store`, checked for every implementation."""

import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from comptroller.ledger.audit import verify
from comptroller.ledger.journal import Journal
from comptroller.ledger.store import Conflict, Exists, Store, Unavailable
from comptroller.ledger.testing import ACCOUNT, ceiling, plausible, post, reserve


def test_what_is_created_is_read_back_byte_for_byte(store: Store) -> None:
    data = bytes(range(256)) * 300
    store.create("ledger/a/journal/000000000000.json", data)
    assert store.get("ledger/a/journal/000000000000.json") == data


def test_an_empty_object_is_an_object(store: Store) -> None:
    store.create("empty", b"")
    assert store.get("empty") == b""


def test_a_missing_object_is_none(store: Store) -> None:
    assert store.get("ledger/nothing") is None
    store.create("ledger/a/b", b"1")
    assert store.get("ledger/a") is None
    assert store.get("ledger/a/b/c") is None


def test_a_key_is_taken_once(store: Store) -> None:
    store.create("k", b"first")
    for data in (b"second", b"first"):
        with pytest.raises(Exists):
            store.create("k", data)
    assert store.get("k") == b"first"


def test_of_64_racing_writers_one_wins(store: Store) -> None:
    barrier = threading.Barrier(64)

    def write(number: int) -> int | None:
        barrier.wait()
        while True:
            try:
                store.create("race", f"writer {number}".encode())
            except Exists:
                return None
            except Conflict:
                continue
            return number

    with ThreadPoolExecutor(64) as pool:
        winners = [number for number in pool.map(write, range(64)) if number is not None]
    assert len(winners) == 1
    assert store.get("race") == f"writer {winners[0]}".encode()


def test_keys_come_in_byte_order_after_a_key_and_below_a_prefix(store: Store) -> None:
    journal = [f"ledger/ns/journal/{n:012d}.json" for n in range(12)]
    others = ["ledger/ns-a/journal/000000000000.json", "ledger/ns.b/x", "ledger/nsz/y", "other"]
    names = [*journal, *others]
    random.Random(0).shuffle(names)
    for name in names:
        store.create(name, b"x")
    assert list(store.keys()) == sorted(names)
    assert list(store.keys("ledger/ns/")) == journal
    assert list(store.keys("ledger/ns/", journal[4])) == journal[5:]
    assert list(store.keys("ledger/ns/", journal[-1])) == []
    assert list(store.keys("ledger/n")) == sorted(n for n in names if n.startswith("ledger/n"))
    assert list(store.keys("ledger/", "ledger/ns0")) == ["ledger/nsz/y"]
    assert list(store.keys("nothing/")) == []


def test_more_keys_than_one_page(store: Store) -> None:
    names = [f"p/{n:05d}" for n in range(1_003)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: store.create(name, b""), names))
    assert list(store.keys("p/")) == names
    assert list(store.keys("p/", names[1_000])) == names[1_001:]


def test_a_read_has_a_limit(store: Store) -> None:
    store.create("big", b"x" * 1000)
    assert store.get("big", 1000) == b"x" * 1000
    with pytest.raises(Unavailable):
        store.get("big", 999)


def test_what_is_deleted_is_gone_and_can_be_deleted_again(store: Store) -> None:
    store.create("snapshot", b"x")
    store.delete("snapshot")
    store.delete("snapshot")
    assert store.get("snapshot") is None
    store.create("snapshot", b"y")


@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/.", "a b", "a\n", "ä", "a?b"])
def test_what_is_no_key_is_refused(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="is not a key"):
        store.create(key, b"x")
    with pytest.raises(ValueError, match="is not a key"):
        store.get(key)


def test_the_probe_passes_every_time(store: Store) -> None:
    store.probe()
    store.probe()


def test_writers_that_race_on_one_journal_agree_and_never_overspend(store: Store) -> None:
    def work(number: int) -> tuple[int, str]:
        # Each has its own clock, which runs backwards.
        clock = itertools.count(10**9 * (number + 1), -1)
        journal = Journal(store, "cluster", "ns", f"writer-{number}", clock.__next__, snapshot_every=3)
        rng = random.Random(number)
        appended = 0
        while appended < 5:
            journal.catch_up()
            appended += journal.append(plausible(journal.books, rng))
        journal.catch_up()
        assert journal.rejections == []
        return appended, journal.head.hash

    with ThreadPoolExecutor(4) as pool:
        assert sum(appended for appended, _ in pool.map(work, range(4))) == 20
    final = Journal(store, "cluster", "ns", "reader", lambda: 0)
    final.catch_up()
    assert final.head.sequence == 19
    assert final.rejections == []
    assert all(account.over == 0 for account in final.books.accounts.values())
    verdict = verify(store, "ns")
    assert verdict.passed
    assert verdict.snapshots > 0
    assert verdict.books == final.books


def test_two_writers_cannot_spend_the_same_money(store: Store) -> None:
    one, two = (Journal(store, "cluster", "ns", name, lambda: 0) for name in ("one", "two"))
    assert one.append([ceiling(100), reserve(60)])
    two.catch_up()
    assert one.append([reserve(40, trial=1)])
    assert not two.append([reserve(40, trial=2)])
    assert two.books.accounts[ACCOUNT].held == 100
    assert two.append([post(10)])
    assert two.append([reserve(50, trial=2)])
    one.catch_up()
    assert one.books == two.books
