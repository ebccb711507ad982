"""A journal that is compared with its anchor, and whose head is published there.

The comparison is made when the journal is opened and whenever another operator has published. The journal is
refused, so that nothing is launched and no lease is renewed, where
* it does not have the batch that was published: it was deleted, cut off, restored from an old copy or
  rewritten, or the operator reads another bucket;
* its books come to less than what was published as spent;
* another installation wrote it last;
* it has leases that are much younger than the anchor: each lease is granted only while the head is published,
  so another cluster granted them, or this cluster was restored from a backup.
A `Takeover` in the journal makes up for each of these.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol, TypeVar

import structlog

from comptroller.ledger.anchor import Anchor, Published, UnreadableAnchor
from comptroller.ledger.books import Books
from comptroller.ledger.chain import ForeignJournal, JournalError
from comptroller.ledger.entries import Takeover
from comptroller.ledger.journal import Journal
from comptroller_api.money import to_amount

log = structlog.get_logger()

PUBLISH_EVERY = 5
"""Seconds from one publication of a head to the next, at least."""
VOUCHED = 60
"""Seconds after a publication in which leases may be granted."""
_STRANGE = 600
"""Seconds that a lease may be younger than the anchor; beyond `VOUCHED`, for clocks that differ."""
_EFFECT = "nothing is launched and no lease is renewed"

T = TypeVar("T")


class RolledBack(JournalError):  # noqa: N818 - says what happened
    """The journal is not, or not any more, the one whose head was published."""

    reason = "LedgerRolledBack"


class AnchorUnreadable(JournalError):  # noqa: N818 - says what it is
    """The object that holds the published head makes no sense."""

    reason = "LedgerAnchorUnreadable"


class Blocking(Protocol):
    """The way in which calls that block are made."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]:
        """Make one."""
        ...


class Anchored:
    """One namespace's journal and its anchor. One caller at a time."""

    def __init__(
        self,
        journal: Journal,
        anchor: Anchor | None,
        namespace: str,
        blocking: Blocking,
        *,
        ledger: str = "",
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Compare nothing yet.

        Args:
            journal: of `namespace`.
            anchor: where its head is published; `None`: nowhere, and nothing is compared.
            namespace: whose journal it is.
            blocking: how calls to the journal are made.
            ledger: the bucket's URI, for people.
            failed: called with the namespace when a head could not be published.
        """
        self.journal = journal
        self._anchor = anchor
        self._namespace = namespace
        self._blocking = blocking
        self._ledger = ledger
        self._failed = failed
        self._compared = False
        self._seen: Published | None = None
        self._tried: int | None = None
        self._error = ""
        """The reason why the head could not be published at the last try; empty if it was."""
        self._replaces = False
        """The published head was taken over: the next head replaces it, even if it is lower."""

    async def catch_up(self, now: int) -> None:
        """Fold in every batch after the head, compare where that is due, and publish where that is due.

        Args:
            now: unix seconds of this operator's clock.

        Raises:
            RolledBack: the journal is not the published one.
            AnchorUnreadable: what is published makes no sense.
            ForeignJournal: another installation wrote the journal last, or a batch is another cluster's.
            JournalError, Unavailable: as `Journal.catch_up`.
            Exception: what the anchor raised, when it had to be read.
        """
        if self._anchor is None:
            await self._blocking(self.journal.catch_up)
            if self.journal.foreign:
                raise ForeignJournal(self._of_another_installation())
            return
        if self._compared:
            await self._blocking(self.journal.catch_up)
            self._compared = not self.journal.foreign
        if not self._compared:
            await self._compare(self._anchor)
        if self._compared and self._due(now):
            await self._publish(self._anchor, now)

    async def vouch(self, now: int) -> bool:
        """Return whether a lease may be granted: the head is published, and was so lately."""
        if self._anchor is None or self.journal.head.sequence < 0 or self._vouched(now):
            return True
        await self._publish(self._anchor, now)
        return self._vouched(now)

    def withheld(self, now: int) -> str:
        """Return why no lease may be granted, the kind of error that publishing met; empty where one may."""
        return "" if self._vouched(now) else self._error

    def _vouched(self, now: int) -> bool:
        seen = self._seen
        return seen is not None and seen.head.sequence >= 0 and 0 <= now - seen.time <= VOUCHED

    # -- publish -------------------------------------------------------------------------------------------

    def _due(self, now: int) -> bool:
        if self.journal.head.sequence < 0:
            return False
        behind = self._seen is None or self._seen.head.sequence < self.journal.head.sequence
        rested = self._tried is None or not 0 <= now - self._tried < PUBLISH_EVERY
        return self._replaces or ((behind or bool(self._error)) and rested)

    async def _publish(self, anchor: Anchor, now: int) -> None:
        """Publish the head, if what is published is still what was seen; failures are only reported."""
        self._tried = now
        head, spent = self.journal.head, spent_in_all(self.journal.books)
        seen = self._seen
        if seen is not None and seen.head.sequence > head.sequence and not self._replaces:
            return
        new = Published(head, spent, now, self._ledger)
        try:
            written = await anchor.write(self._namespace, new, seen)
        except Exception as error:  # noqa: BLE001 - whatever it was, the next try finds out
            self._failed(self._namespace)
            # Without the error's own words, which differ from one try to the next.
            self._error = type(error).__name__
            log.warning(
                "head not published",
                namespace=self._namespace,
                error=f"{type(error).__name__}: {error}"[:500],
            )
            return
        self._error = ""
        if written is None:
            # Another operator has published, or an administrator has edited it: compare before going on.
            self._compared = False
        else:
            self._seen, self._replaces = written, False

    # -- compare -------------------------------------------------------------------------------------------

    async def _compare(self, anchor: Anchor) -> None:
        journal = self.journal
        if not journal.incarnation:
            journal.incarnation = await self._incarnation(anchor)
        try:
            # Before the journal is read: what is published now is in a journal that is read later.
            seen = await anchor.read(self._namespace)
        except UnreadableAnchor as error:
            raise AnchorUnreadable(f"the published head of {self._namespace}: {error}; {_EFFECT}") from error
        await self._blocking(journal.catch_up)
        refusal = await self._blocking(lambda: self._refusal(seen))
        if refusal is not None:
            if seen is None or seen.accepted != str(journal.head):
                if seen is None:
                    await anchor.write(self._namespace, Published(ledger=self._ledger), None)
                raise type(refusal)(f"{refusal}. {_EFFECT.capitalize()}. {self._way_out(anchor)}")
            if not await self._blocking(lambda: journal.append([self._takeover(seen)])):
                return await self._compare(anchor)  # another writer was first
        self._seen, self._compared = seen, True
        self._replaces = seen is not None and (bool(seen.accepted) or self._taken_over(seen))
        return None

    async def _incarnation(self, anchor: Anchor) -> str:
        try:
            return await anchor.incarnation()
        except UnreadableAnchor as error:
            raise AnchorUnreadable(f"the name of this installation: {error}; {_EFFECT}") from error

    def _refusal(self, seen: Published | None) -> JournalError | None:
        """Return the fault of the journal as it is now, given the head published before it was read."""
        journal = self.journal
        if journal.foreign:
            return ForeignJournal(self._of_another_installation())
        if seen is None or self._taken_over(seen):
            return None
        what = f"the ledger of {self._namespace}" + (f" in {self._ledger}" if self._ledger else "")
        then = f"{datetime.fromtimestamp(seen.time, UTC):%Y-%m-%dT%H:%M:%SZ}"
        expected = f"the cluster published {seen.head}, {_amounts(seen.spent)} spent, at {then}"
        if (lost := self._lost(seen)) is not None:
            spent = _amounts(spent_in_all(journal.books))
            return RolledBack(f"{what} {lost}: {expected}; it ends at {journal.head}, {spent} spent")
        sequence, time = journal.leased
        if sequence > seen.head.sequence >= 0 and time - seen.time > _STRANGE:
            minutes = (time - seen.time) // 60
            return ForeignJournal(
                f"{what} has a lease in batch {sequence} that was granted {minutes} minutes after {expected}:"
                " another cluster writes this journal, or this cluster was restored from a backup"
            )
        return None

    def _lost(self, seen: Published) -> str | None:
        """Return what happened to the journal whose head was published, if it is not this one."""
        journal, spent = self.journal, spent_in_all(self.journal.books)
        if journal.head.sequence < seen.head.sequence:
            return "was deleted" if journal.head.sequence < 0 else "was rolled back"
        if seen.head.sequence >= 0 and self._hash_of(seen.head.sequence) != seen.head.hash:
            return f"has another batch {seen.head.sequence}"
        if any(spent.get(currency, 0) < micro for currency, micro in seen.spent.items()):
            return "has less spent than before"
        return None

    def _hash_of(self, sequence: int) -> str | None:
        head = self.journal.head
        return head.hash if sequence == head.sequence else self.journal.hash_of(sequence)

    def _taken_over(self, seen: Published) -> bool:
        """Return whether the journal itself states that it takes the place of the published one."""
        takeover = self.journal.books.takeover
        return takeover is not None and takeover.expected == str(seen.head) and seen.head.sequence >= 0

    def _takeover(self, seen: Published) -> Takeover:
        books = self.journal.books
        spent = spent_in_all(books)
        lost = {name: micro - spent.get(name, 0) for name, micro in seen.spent.items()}
        log.warning("ledger taken over", namespace=self._namespace, expected=str(seen.head))
        return Takeover(
            number=books.takeover.number + 1 if books.takeover else 0,
            incarnation=self.journal.incarnation,
            expected=str(seen.head),
            found=str(self.journal.head),
            lost={name: micro for name, micro in lost.items() if micro > 0},
        )

    def _of_another_installation(self) -> str:
        journal = self.journal
        return (
            f"the ledger of {self._namespace} was last written by installation {journal.claimed!r}, and this"
            f" is {journal.incarnation!r}: two clusters have one cluster id, or the operator was reinstalled"
        )

    def _way_out(self, anchor: Anchor) -> str:
        found = self.journal.head
        return (
            "Restore the bucket; or stop the other installation and accept what is there:"
            f" {anchor.acceptance(self._namespace, found)}"
        )


def spent_in_all(books: Books) -> dict[str, int]:
    """Return the micro-units that were ever posted, by currency."""
    found: Counter[str] = Counter()
    for name, account in books.accounts.items():
        if name.study is not None:  # each attempt has one such account, whatever budgets it draws on
            found[account.currency] += account.spent
    return {currency: micro for currency, micro in found.items() if micro}


def _amounts(spent: Mapping[str, int]) -> str:
    return ", ".join(f"{to_amount(micro)} {name}" for name, micro in sorted(spent.items())) or "nothing"
