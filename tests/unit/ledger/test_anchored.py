"""A journal that is not the published one is refused, until an administrator accepts it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from comptroller.ledger.anchor import (
    Anchor,
    DirectoryAnchor,
    MemoryAnchor,
    Published,
    UnreadableAnchor,
    published_heads,
)
from comptroller.ledger.anchored import Anchored, AnchorUnreadable, RolledBack
from comptroller.ledger.audit import verify
from comptroller.ledger.encoding import Head, journal_key
from comptroller.ledger.entries import Entry
from comptroller.ledger.journal import ForeignJournal, Journal
from comptroller.ledger.stores import MemoryStore
from comptroller.ledger.testing import ACCOUNT, ceiling, close, post, reserve

T = TypeVar("T")


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000

    def __call__(self) -> int:
        return self.now


async def at_once(call: Callable[[], T], /) -> T:
    return call()


class Operator:
    """One operator's view of one journal."""

    def __init__(
        self, store: MemoryStore, anchor: Anchor | None, clock: Clock, writer: str = "w", every: int = 500
    ) -> None:
        self.journal = Journal(store, "c", "ns", writer, clock, pause=lambda _: None, snapshot_every=every)
        self.unpublished: list[str] = []
        self.clock = clock
        self.anchored = Anchored(
            self.journal, anchor, "ns", at_once, ledger="s3://b", failed=self.unpublished.append
        )

    async def catch_up(self) -> None:
        await self.anchored.catch_up(self.clock())

    async def spend(self, amount: int, trial: int) -> None:
        """Append one attempt, from its lease to its end, each entry in a batch."""
        batches: list[list[Entry]] = [[reserve(amount, trial)], [post(amount, trial), close(trial)]]
        for entries in batches:
            await self.catch_up()
            assert await self.anchored.vouch(self.clock())
            assert self.journal.append(entries)
        await self.catch_up()


class Broken(MemoryAnchor):
    """An anchor that cannot be written."""

    broken = True

    async def write(self, namespace: str, new: Published, seen: Published | None) -> Published | None:
        if self.broken:
            raise ConnectionError("no API server")
        return await super().write(namespace, new, seen)


async def used(anchor: MemoryAnchor, clock: Clock, store: MemoryStore | None = None) -> MemoryStore:
    """Return a journal with 0.000003 spent of 0.0001, and with its head published."""
    store = store or MemoryStore()
    one = Operator(store, anchor, clock)
    await one.catch_up()
    assert one.journal.append([ceiling(100)])
    for trial in range(3):
        clock.now += 10
        await one.spend(1, trial)
    clock.now += 10
    await one.catch_up()
    assert anchor.published["ns"].head == one.journal.head
    assert anchor.published["ns"].spent == {"USD": 3}
    return store


def cut(store: MemoryStore, after: int) -> None:
    """Remove every batch after number `after`."""
    for key in [key for key in store.objects if key > journal_key("ns", after)]:
        del store.objects[key]


async def test_a_journal_that_was_deleted_is_refused_and_nothing_is_written() -> None:
    anchor, clock = MemoryAnchor(), Clock()
    store = await used(anchor, clock)
    store.objects.clear()
    found = anchor.published["ns"]
    one = Operator(store, anchor, clock)
    for _ in range(2):
        with pytest.raises(RolledBack) as refused:
            await one.catch_up()
        message = str(refused.value)
        assert "the ledger of ns in s3://b was deleted" in message
        assert str(found.head) in message
        assert "0.000003 USD spent" in message
        assert "it ends at empty, nothing spent" in message
        assert "accept empty for ns" in message
    assert not store.objects
    assert anchor.published["ns"] == found


@pytest.mark.parametrize("left", range(6))
@pytest.mark.parametrize("every", [2, 500])
async def test_a_journal_that_was_cut_off_anywhere_is_refused(left: int, every: int) -> None:
    anchor, clock = MemoryAnchor(), Clock()
    store = MemoryStore()
    one = Operator(store, anchor, clock, every=every)
    await one.catch_up()
    assert one.journal.append([ceiling(100)])
    for trial in range(3):
        clock.now += 10
        await one.spend(1, trial)
    clock.now += 10
    await one.catch_up()
    cut(store, left)
    with pytest.raises(RolledBack, match="was rolled back"):
        await Operator(store, anchor, clock, every=every).catch_up()


async def test_a_journal_that_was_rewritten_or_is_of_another_bucket_is_refused() -> None:
    anchor, clock = MemoryAnchor(), Clock()
    await used(anchor, clock)
    other, later = MemoryAnchor(), Clock()
    later.now += 7
    store = await used(other, later)
    one = Operator(store, other, later)
    for trial in range(3, 6):
        await one.spend(1, trial)
    with pytest.raises(RolledBack, match="has another batch 6"):
        await Operator(store, anchor, clock).catch_up()


async def test_an_anchor_that_lags_behind_is_normal() -> None:
    anchor, clock = MemoryAnchor(), Clock()
    store = await used(anchor, clock)
    one = Operator(store, None, clock)
    one.journal.incarnation = "memory"
    await one.catch_up()
    for trial in range(3, 9):
        await one.spend(1, trial)
    two = Operator(store, anchor, clock)
    await two.catch_up()
    assert anchor.published["ns"].head == two.journal.head


async def test_heads_are_published_after_batches_at_most_every_five_seconds_and_never_backwards() -> None:
    anchor, clock = MemoryAnchor(), Clock()
    store, heads = await used(anchor, clock), []
    one, two = Operator(store, anchor, clock, "1"), Operator(store, anchor, clock, "2")
    for second in range(60):
        clock.now += 1
        for number, operator in enumerate((one, two)):
            await operator.catch_up()
            amount = 100 + 2 * second + number
            assert operator.journal.append(
                [ceiling(amount, operator.journal.books.accounts[ACCOUNT].revision + 1)]
            )
            heads.append(anchor.published["ns"].head.sequence)
    assert heads == sorted(heads)
    assert 6 <= len(set(heads)) <= 2 * 60 // 5 + 2
    assert one.unpublished == two.unpublished == []


async def test_an_anchor_that_cannot_be_written_stops_leases_and_not_settlement() -> None:
    anchor, clock = Broken(), Clock()
    anchor.broken = False
    store = await used(anchor, clock)
    one = Operator(store, anchor, clock)
    await one.catch_up()
    assert await one.anchored.vouch(clock())
    assert one.journal.append([reserve(1, 5)])
    anchor.broken = True
    clock.now += 120
    await one.catch_up()
    assert not await one.anchored.vouch(clock())
    assert one.anchored.withheld(clock()) == "ConnectionError"
    assert one.journal.append([post(1, 5), close(5)])
    assert set(one.unpublished) == {"ns"}
    anchor.broken = False
    clock.now += 10
    await one.catch_up()
    assert one.anchored.withheld(clock()) == ""
    assert await one.anchored.vouch(clock())
    assert anchor.published["ns"].head == one.journal.head


async def test_an_accepted_journal_continues_and_the_ledger_records_it() -> None:
    anchor, clock = MemoryAnchor(), Clock()
    store = await used(anchor, clock)
    expected = anchor.published["ns"].head
    cut(store, 2)
    one = Operator(store, anchor, clock)
    with pytest.raises(RolledBack):
        await one.catch_up()
    anchor.published["ns"] = replace(anchor.published["ns"], accepted=str(Head(2, "0" * 64)))
    with pytest.raises(RolledBack):  # another head than the existing one
        await one.catch_up()
    found = one.journal.head
    anchor.published["ns"] = replace(anchor.published["ns"], accepted=str(found))
    await one.catch_up()
    takeover = one.journal.books.takeover
    assert takeover is not None
    assert (takeover.expected, takeover.found, takeover.lost) == (str(expected), str(found), {"USD": 2})
    assert anchor.published["ns"].head == one.journal.head
    assert anchor.published["ns"].accepted == ""
    await one.spend(1, 7)
    assert verify(store, "ns").passed
    await Operator(store, anchor, clock).catch_up()


async def test_an_operator_that_dies_between_a_takeover_and_its_publication_is_followed_by_another() -> None:
    anchor, clock = Broken(), Clock()
    anchor.broken = False
    store = await used(anchor, clock)
    cut(store, 2)
    one = Operator(store, anchor, clock)
    with pytest.raises(RolledBack):
        await one.catch_up()
    anchor.published["ns"] = replace(anchor.published["ns"], accepted=str(one.journal.head))
    anchor.broken = True
    await one.catch_up()  # it takes over, and cannot publish
    anchor.broken = False
    two = Operator(store, anchor, clock)
    await two.catch_up()
    assert two.journal.books.takeover == one.journal.books.takeover
    assert anchor.published["ns"].head == two.journal.head
    cut(store, 3)
    store.objects.pop(journal_key("ns", 3), None)
    with pytest.raises(RolledBack):  # one acceptance is for one loss
        await Operator(store, anchor, clock).catch_up()


async def test_two_clusters_with_one_id_find_out_and_the_second_writes_nothing() -> None:
    ours, theirs, clock = MemoryAnchor("ours"), MemoryAnchor("theirs"), Clock()
    store = await used(ours, clock)
    batches = len(store.objects)
    second = Operator(store, theirs, clock)
    for _ in range(2):
        with pytest.raises(ForeignJournal, match="written by installation 'ours', and this is 'theirs'"):
            await second.catch_up()
    assert len(store.objects) == batches
    await Operator(store, ours, clock).spend(1, 5)


async def test_clusters_that_race_for_a_new_journal_leave_it_to_one() -> None:
    store, clock = MemoryStore(), Clock()
    ours, theirs = (Operator(store, MemoryAnchor(name), clock) for name in ("ours", "theirs"))
    await ours.catch_up()
    await theirs.catch_up()
    assert ours.journal.append([ceiling(100)])
    assert not theirs.journal.append([ceiling(200)])
    with pytest.raises(ForeignJournal):
        await theirs.catch_up()
    with pytest.raises(ForeignJournal):
        theirs.journal.append([ceiling(200, 1)])


async def test_a_takeover_stops_the_installation_that_was_there() -> None:
    ours, theirs, clock = MemoryAnchor("ours"), MemoryAnchor("theirs"), Clock()
    store = await used(ours, clock)
    first, second = Operator(store, ours, clock), Operator(store, theirs, clock)
    await first.catch_up()
    with pytest.raises(ForeignJournal) as refused:
        await second.catch_up()
    assert f"accept {second.journal.head} for ns" in str(refused.value)
    theirs.published["ns"] = replace(theirs.published["ns"], accepted=str(second.journal.head))
    await second.spend(1, 5)
    with pytest.raises(ForeignJournal, match="written by installation 'theirs'"):
        await first.catch_up()
    with pytest.raises(ForeignJournal):
        first.journal.append([ceiling(200, 1)])
    assert verify(store, "ns").passed
    assert verify(store, "ns").incarnation == "theirs"


async def test_a_cluster_restored_from_a_backup_finds_leases_that_it_did_not_grant() -> None:
    ours, clock = MemoryAnchor("same"), Clock()
    store = await used(ours, clock)
    restored = MemoryAnchor("same")
    restored.published = dict(ours.published)
    one = Operator(store, ours, clock)
    clock.now += 3_600
    await one.spend(1, 5)
    second = Operator(store, restored, clock)
    with pytest.raises(ForeignJournal, match=r"60 minutes after .* restored from a backup"):
        await second.catch_up()
    restored.published["ns"] = replace(restored.published["ns"], accepted=str(second.journal.head))
    await second.catch_up()
    assert restored.published["ns"].head == second.journal.head


async def test_operators_of_one_installation_share_a_journal() -> None:
    anchor, clock = MemoryAnchor(), Clock()
    store = await used(anchor, clock)
    one, two = Operator(store, anchor, clock, "1"), Operator(store, anchor, clock, "2")
    for trial in range(3, 9):
        clock.now += 10
        await (one if trial % 2 else two).spend(1, trial)
    assert verify(store, "ns").passed


async def test_a_forged_incarnation_without_a_takeover_is_named_by_verify() -> None:
    anchor, clock = MemoryAnchor("ours"), Clock()
    store = await used(anchor, clock)
    one = Journal(store, "c", "ns", "w", clock, incarnation="ours")
    one.catch_up()
    one.incarnation = one.claimed = "theirs"
    assert one.append([ceiling(200, 1)])
    assert [v.rule for v in verify(store, "ns").violations] == ["Foreign"]


async def test_an_anchor_in_a_directory_keeps_what_was_published(tmp_path: Path) -> None:
    anchor, clock = DirectoryAnchor(tmp_path), Clock()
    store = MemoryStore()
    one = Operator(store, anchor, clock)
    await one.catch_up()
    assert one.journal.append([ceiling(100)])
    await one.spend(5, 0)
    clock.now += 10
    await one.catch_up()
    stored = (tmp_path / "ns.json").read_bytes()
    assert published_heads(stored) == {"ns": one.journal.head}
    published = await anchor.read("ns")
    assert published == Published(one.journal.head, {"USD": 5}, clock.now, "s3://b")
    assert await anchor.write("ns", replace(published, time=1), None) is None
    store.objects.clear()
    with pytest.raises(RolledBack, match=r'add "accepted": "empty" to .*/ns\.json'):
        await Operator(store, anchor, clock).catch_up()
    (tmp_path / "ns.json").write_text(json.dumps(json.loads(stored) | {"accepted": "empty"}))
    await Operator(store, anchor, clock).catch_up()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "KeyError"),
        ({"head": "nonsense"}, "SEQUENCE:HASH"),
        ({"spent": "[]"}, "AttributeError"),
        ({"format": "9"}, "newer release .format 9, this one reads up to 1.: upgrade"),
    ],
)
async def test_an_anchor_that_makes_no_sense_holds_the_namespace(
    tmp_path: Path, fields: dict[str, str], message: str
) -> None:
    content = Published(Head(1, "0" * 64), {}, 1).fields() | fields if fields else {}
    with pytest.raises(UnreadableAnchor, match=message):
        Published.of(content)
    (tmp_path / "ns.json").write_text(json.dumps(content))
    one = Operator(MemoryStore(), DirectoryAnchor(tmp_path), Clock())
    with pytest.raises(AnchorUnreadable, match=message):
        await one.catch_up()
