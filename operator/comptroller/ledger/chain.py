"""The rules by which a batch is the next of a journal, and the names of their violations."""

from typing import ClassVar

from comptroller.ledger.encoding import Head, MalformedBatch, NewerBatch, decode
from comptroller.ledger.entries import Batch


class JournalError(Exception):
    """The journal cannot be read or written as it is."""

    reason: ClassVar[str] = "LedgerRefused"
    """The reason of the condition that reports it."""


class ForeignJournal(JournalError):  # noqa: N818 - says what happened
    """The journal belongs to another cluster, namespace or installation."""

    reason = "LedgerForeign"


class BrokenChain(JournalError):  # noqa: N818 - says what happened
    """A batch is missing, altered, or does not follow the one before."""

    reason = "LedgerBroken"


class NewerRelease(JournalError):  # noqa: N818 - says what happened
    """A batch was written by a newer release, which this one must not act on."""

    reason = "LedgerNewer"


def following(head: Head, data: bytes, cluster: str, namespace: str) -> Batch:
    """The batch in `data`, which was stored at the number after `head`.

    Raises:
        ForeignJournal: it is another cluster's or namespace's.
        NewerRelease: a newer release wrote it.
        BrokenChain: it is damaged, out of place, or was not written after `head`.
    """
    sequence = head.sequence + 1
    where = f"batch {sequence} of {namespace}"
    try:
        batch = decode(data)
    except NewerBatch as error:
        raise NewerRelease(f"{where}: {error}") from error
    except MalformedBatch as error:
        raise BrokenChain(f"{where}: {error}") from error
    if batch.cluster != cluster:
        raise ForeignJournal(f"{where} is of cluster {batch.cluster!r}, this is {cluster!r}")
    if batch.namespace != namespace:
        raise ForeignJournal(f"{where} is of namespace {batch.namespace!r}")
    if batch.sequence != sequence:
        raise BrokenChain(f"{where} says that it is batch {batch.sequence}")
    if batch.previous != head.hash:
        raise BrokenChain(f"{where} does not follow the batch {head.sequence} that is stored")
    return batch
