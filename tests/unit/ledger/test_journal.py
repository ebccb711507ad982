"""The journal: one order for all writers, whatever the network does."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.ledger.books import Books
from comptroller.ledger.encoding import MAX_BATCH, decode, encode, journal_key, journal_prefix
from comptroller.ledger.entries import Entry
from comptroller.ledger.journal import BrokenChain, ForeignJournal, Journal, Rejected
from comptroller.ledger.store import StoreError, Unavailable
from comptroller.ledger.stores import MemoryStore
from comptroller.ledger.stores.faulty import Fault, FaultyStore
from comptroller.ledger.testing import ACCOUNT, ceiling, close, plausible, post, reserve


def journal(
    store: MemoryStore | FaultyStore, writer: str = "w", cluster: str = "c", ns: str = "ns", every: int = 500
) -> Journal:
    return Journal(store, cluster, ns, writer, lambda: 7, pause=lambda _: None, snapshot_every=every)


def opened(store: MemoryStore) -> Journal:
    one = journal(store, "reader")
    one.catch_up()
    return one


def script(*faults: Fault) -> Callable[[str, str], Fault]:
    """A store with the fate of each create in turn; later creates succeed."""
    left = list(faults)
    return lambda operation, _: left.pop(0) if operation == "create" and left else Fault.NONE


def written(store: MemoryStore) -> list[Entry]:
    keys = store.keys(journal_prefix("ns"))
    return [entry for key in keys for entry in decode(store.objects[key]).entries]


def test_a_writer_knows_since_when_no_other_has_written() -> None:
    store, now = MemoryStore(), 10
    own = Journal(store, "c", "ns", "own", lambda: now)
    now = 20
    assert own.append([ceiling(100)])
    assert own.alone_since == 10
    other = journal(store, "other")
    other.catch_up()
    assert other.append([reserve(60)])
    own.catch_up()
    assert own.alone_since == 20


def test_what_was_appended_is_folded_and_found_by_the_next_writer() -> None:
    store = MemoryStore()
    first = journal(store)
    assert first.append([ceiling(100), reserve(60)])
    assert first.append([post(20), close()])
    second = journal(store, "x")
    second.catch_up()
    assert second.books == first.books
    assert second.head == first.head
    assert second.head.sequence == 1
    assert list(store.objects) == [journal_key("ns", 0), journal_key("ns", 1)]


def test_the_loser_of_a_number_folds_the_winner_in_and_writes_nothing() -> None:
    store = MemoryStore()
    one, two = journal(store, "1"), journal(store, "2")
    two.catch_up()
    assert one.append([ceiling(100)])
    assert not two.append([ceiling(50)])
    assert two.books.accounts[ACCOUNT].ceiling == 100
    assert len(store.objects) == 1


@pytest.mark.parametrize(
    "faults",
    [
        [Fault.LOST_REPLY],
        [Fault.LOST_REQUEST],
        [Fault.CONFLICT],
        [Fault.CONFLICT, Fault.LOST_REPLY],
        [Fault.LOST_REQUEST, Fault.CONFLICT, Fault.LOST_REPLY],
        [Fault.LATE],
    ],
)
def test_a_lost_reply_makes_one_batch_of_one_append(faults: list[Fault]) -> None:
    store = MemoryStore()
    network = FaultyStore(store, script(*faults))
    one = journal(network)
    assert one.append([ceiling(100), reserve(60)])
    network.arrive()
    one.catch_up()
    assert one.head.sequence == 0
    assert one.books.accounts[ACCOUNT].held == 60
    assert written(store) == [ceiling(100), reserve(60)]


def test_a_reply_lost_to_a_winner_is_a_loss() -> None:
    store = MemoryStore()
    loser = journal(FaultyStore(store, script(Fault.LOST_REPLY)))
    loser.catch_up()
    assert journal(store, "winner").append([ceiling(100)])
    assert not loser.append([ceiling(50)])
    assert loser.books.accounts[ACCOUNT].ceiling == 100


def test_the_same_entries_by_another_writer_are_not_ours() -> None:
    store = MemoryStore()
    loser = journal(store, "loser")
    loser.catch_up()
    assert journal(store, "winner").append([ceiling(100)])
    assert not loser.append([ceiling(100)])


def test_a_write_that_arrives_after_it_was_given_up_is_read_like_any_other() -> None:
    store = MemoryStore()
    network = FaultyStore(store, script(*[Fault.LATE] * 6))
    one = journal(network)
    with pytest.raises(Unavailable):
        one.append([ceiling(100)])
    assert one.books == Books()
    network.arrive()
    assert not one.append([ceiling(70)])
    assert one.books.accounts[ACCOUNT].ceiling == 100
    assert len(store.objects) == 1


def test_what_was_planned_without_looking_is_planned_again() -> None:
    store = MemoryStore()
    assert journal(store).append([ceiling(100)])
    blind = journal(store, "blind")
    assert not blind.append([ceiling(100)])
    assert blind.head.sequence == 0


def test_an_unavailable_store_changes_nothing() -> None:
    store = MemoryStore()
    one = journal(FaultyStore(store, script(Fault.REFUSED)))
    with pytest.raises(Unavailable):
        one.append([ceiling(100)])
    assert one.books == Books()
    assert store.objects == {}
    assert one.append([ceiling(100)])


def test_the_number_of_tries_is_limited() -> None:
    waits: list[float] = []
    store = FaultyStore(MemoryStore(), lambda op, _: Fault.CONFLICT if op == "create" else Fault.NONE)
    one = Journal(store, "c", "ns", "w", lambda: 0, pause=waits.append)
    with pytest.raises(Unavailable, match="no certain answer in 6 tries"):
        one.append([ceiling(100)])
    assert len(waits) == 5
    assert waits == sorted(waits)
    assert sum(waits) < 2


def test_what_the_books_would_reject_is_not_written() -> None:
    store = MemoryStore()
    one = journal(store)
    with pytest.raises(Rejected, match="does not fit"):
        one.append([ceiling(100), reserve(101)])
    assert store.objects == {}
    assert one.books == Books()


def test_nothing_to_append_is_done_without_a_write() -> None:
    store = MemoryStore()
    assert journal(store).append([])
    assert store.objects == {}


def test_a_hundred_thousand_entries_are_appended_in_order_in_as_few_batches_as_hold_them() -> None:
    store = MemoryStore()
    one = journal(store, every=10**6)
    entries: list[Entry] = [ceiling(10**9), *(reserve(1, trial) for trial in range(99_999))]
    assert one.append(entries)
    assert [entry.id for entry in written(store)] == [entry.id for entry in entries]
    sizes = [len(data) for key, data in sorted(store.objects.items()) if key.startswith(journal_prefix("ns"))]
    assert all(0.9 * MAX_BATCH < size <= MAX_BATCH for size in sizes[:-1])
    assert sizes[-1] <= MAX_BATCH
    assert one.books.accounts[ACCOUNT].held == 99_999


def test_once_a_number_is_lost_no_later_part_is_written() -> None:
    store = MemoryStore()
    other = journal(store, "other")
    parts = iter(range(100))

    def interfere(operation: str, _: str) -> Fault:
        if operation == "create" and next(parts) == 2:
            other.catch_up()
            assert other.append([ceiling(5, account="budget/theirs")])
        return Fault.NONE

    one = journal(FaultyStore(store, interfere))
    entries: list[Entry] = [ceiling(10**9), *(reserve(1, trial) for trial in range(12_000))]
    assert not one.append(entries)
    found = written(store)
    assert found[-1] == ceiling(5, account="budget/theirs")
    assert found[:-1] == entries[: len(found) - 1]
    assert one.head.sequence == 2
    # The rest follows when planned again on the existing entries.
    assert one.append(entries[len(found) - 1 :])
    assert opened(store).books == one.books


def test_an_entry_that_no_batch_can_hold_is_rejected_before_anything_is_written() -> None:
    store = MemoryStore()
    one = journal(store)
    with pytest.raises(Rejected, match="bytes are more than"):
        one.append([ceiling(1), ceiling(1, account="x" * MAX_BATCH)])
    assert store.objects == {}


@settings(max_examples=20)
@given(st.lists(st.integers(0, 10**10), min_size=90, max_size=90))
def test_a_clock_that_jumps_and_runs_backwards_orders_nothing(times: list[int]) -> None:
    store, rng, clock = MemoryStore(), random.Random(0), iter(times)
    writers = [Journal(store, "c", "ns", f"w{n}", lambda: next(clock), snapshot_every=4) for n in range(2)]
    for turn in range(20):
        one = writers[turn % 2]
        one.catch_up()
        assert one.append(plausible(one.books, rng))
    steady, rng = MemoryStore(), random.Random(0)
    other = journal(steady, every=4)
    other.catch_up()
    for _ in range(20):
        assert other.append(plausible(other.books, rng))
    assert written(store) == written(steady)
    assert opened(store).books == opened(steady).books == other.books


def test_a_journal_of_another_cluster_is_refused() -> None:
    store = MemoryStore()
    journal(store, cluster="theirs").append([ceiling(100)])
    with pytest.raises(ForeignJournal, match="batch 0 of ns is of cluster 'theirs'"):
        journal(store, cluster="ours").catch_up()


def test_a_journal_of_another_cluster_is_refused_also_with_its_snapshots() -> None:
    store, rng = MemoryStore(), random.Random(1)
    theirs = journal(store, cluster="theirs", every=2)
    theirs.catch_up()
    for _ in range(9):
        assert theirs.append(plausible(theirs.books, rng))
    ours = journal(store, cluster="ours")
    for call in (ours.catch_up, lambda: ours.append([ceiling(1)])):
        with pytest.raises(ForeignJournal, match="batch 0 of ns is of cluster 'theirs'"):
            call()
    assert ours.books == Books()


def test_a_journal_of_another_namespace_is_refused() -> None:
    store = MemoryStore()
    journal(store, ns="theirs").append([ceiling(100)])
    store.objects = {k.replace("theirs", "ours"): data for k, data in store.objects.items()}
    with pytest.raises(ForeignJournal, match="namespace 'theirs'"):
        journal(store, ns="ours").catch_up()


def filled(batches: int = 5) -> MemoryStore:
    store, rng = MemoryStore(), random.Random(1)
    one = journal(store)
    one.catch_up()
    for _ in range(batches):
        assert one.append(plausible(one.books, rng))
    return store


def test_a_missing_batch_is_a_broken_chain_and_is_never_written_over() -> None:
    store = filled()
    del store.objects[journal_key("ns", 2)]
    one = journal(store)
    for call in (one.catch_up, lambda: one.append([ceiling(1, 1)])):
        with pytest.raises(BrokenChain, match="batch 2 of ns is missing, and batch 3 is there"):
            call()
    assert journal_key("ns", 2) not in store.objects


@pytest.mark.parametrize("missing", [0, 2])
def test_an_altered_batch_is_named(missing: int) -> None:
    store = filled()
    key = journal_key("ns", missing)
    store.objects[key] = store.objects[key].replace(b'"writer":"w"', b'"writer":"v"')
    with pytest.raises(BrokenChain, match=f"batch {missing} of ns: its checksum"):
        journal(store).catch_up()


def test_a_forged_batch_is_a_broken_chain_at_the_next() -> None:
    store = filled()
    key = journal_key("ns", 2)
    forged = decode(store.objects[key]).model_copy(update={"entries": (ceiling(10**9, 1),)})
    store.objects[key] = encode(forged)
    one = journal(store)
    with pytest.raises(BrokenChain, match="batch 3 of ns does not follow the batch 2"):
        one.catch_up()
    assert one.head.sequence == 2


def test_a_batch_under_another_number_is_named() -> None:
    store = filled()
    store.objects[journal_key("ns", 5)] = store.objects[journal_key("ns", 4)]
    with pytest.raises(BrokenChain, match="batch 5 of ns says that it is batch 4"):
        journal(store).catch_up()


def test_an_entry_against_the_rules_has_no_effect_and_is_remembered() -> None:
    store = MemoryStore()
    bad = journal(store, "bug")
    bad.append([ceiling(100)])
    batch = decode(store.objects[journal_key("ns", 0)])
    entries = (reserve(101), reserve(30))
    store.objects[journal_key("ns", 1)] = encode(
        batch.model_copy(update={"sequence": 1, "previous": bad.head.hash, "entries": entries})
    )
    one = journal(store)
    one.catch_up()
    assert one.books.accounts[ACCOUNT].held == 30
    assert [(r.sequence, r.entry) for r in one.rejections] == [(1, reserve(101).id)]


FAULTS = st.lists(st.sampled_from([Fault.NONE, Fault.NONE, Fault.NONE, *Fault]), min_size=1, max_size=40).map(
    lambda faults: [*faults, Fault.NONE]
)


@settings(max_examples=300)
@given(st.lists(st.integers(0, 3), min_size=5, max_size=60), FAULTS, st.integers(0, 10**6))
def test_writers_on_a_failing_network_never_diverge_and_never_overspend(
    turns: list[int], faults: list[Fault], seed: int
) -> None:
    store, rng, at = MemoryStore(), random.Random(seed), iter(range(10**9))
    network = FaultyStore(store, lambda *_: faults[next(at) % len(faults)])
    writers = {number: journal(network, f"writer-{number}", every=2 + number) for number in range(3)}
    confirmed: list[Entry] = []
    for turn, number in enumerate(turns):
        if number not in writers:
            # The first operator dies here, and its late writes arrive.
            network.arrive()
            writers[0] = journal(network, f"writer-0-{turn}", every=2)
            continue
        one = writers[number]
        try:
            if rng.random() < 0.7:
                one.catch_up()
            entries = plausible(one.books, rng)
            if one.append(entries):
                confirmed += entries
        except StoreError:
            continue
        if rng.random() < 0.3:
            network.arrive()
    network.arrive()
    reader = journal(store, "reader")
    reader.catch_up()
    assert reader.rejections == []
    assert all(account.over == 0 for account in reader.books.accounts.values())
    ids = [entry.id for entry in written(store)]
    assert len(ids) == len(set(ids))
    assert {entry.id for entry in confirmed} <= set(ids)
    for one in writers.values():
        calm = journal(store, "calm")
        calm.catch_up()
        prefix = Books()
        for sequence in range(one.head.sequence + 1):
            for entry in decode(store.objects[journal_key("ns", sequence)]).entries:
                assert prefix.apply(entry) is None
        assert one.books == prefix
