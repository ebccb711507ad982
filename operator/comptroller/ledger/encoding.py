"""A batch as bytes: canonical JSON whose last member is a checksum of all that precedes it.

The chain alone would not do: nothing follows the last batch, so nothing would vouch for it.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from comptroller.ledger.entries import FORMAT, Batch, Entry

MAX_BATCH = 2**20
"""Bytes of one batch as stored."""

MAX_ENTRY = MAX_BATCH - 4096
"""Bytes of one entry; the rest is kept for the other fields of a batch."""

GENESIS = "0" * 64
"""The first batch's `previous`."""

_CHECKSUM = re.compile(rb',"checksum":"([0-9a-f]{64})"\}\Z')
_CHECKSUM_LENGTH = len(b',"checksum":""}') + 64
_HEAD = re.compile(r"([0-9]{1,12}):([0-9a-f]{64})")
_SEQUENCE = re.compile(r"([0-9]{12})\.json")

canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
"""JSON in which the same value is the same text."""


class MalformedBatch(ValueError):  # noqa: N818 - says what happened
    """Bytes that no writer of this ledger wrote."""


class NewerBatch(ValueError):  # noqa: N818 - says what happened
    """A batch in a format that came after this release; nothing is wrong with it."""


@dataclass(frozen=True, slots=True)
class Head:
    """A batch, by its place and its content."""

    sequence: int = -1
    hash: str = GENESIS
    """SHA-256 of its bytes as stored."""

    def __str__(self) -> str:
        """`SEQUENCE:HASH`, or `empty` before the first batch."""
        return f"{self.sequence}:{self.hash}" if self.sequence >= 0 else "empty"

    @classmethod
    def parse(cls, text: str) -> "Head":
        """Return the head that prints as `text`.

        Raises:
            ValueError: `text` is neither `SEQUENCE:HASH` nor `empty`.
        """
        if text == "empty":
            return cls()
        found = _HEAD.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not SEQUENCE:HASH, as `ledger verify` prints it")
        return cls(int(found[1]), found[2])


def encode(batch: Batch) -> bytes:
    """The bytes to store; the same batch has the same bytes."""
    return assemble(batch, [encode_entry(entry) for entry in batch.entries])


def encode_entry(entry: Entry) -> bytes:
    """An entry as it stands in a batch."""
    return canonical(entry.model_dump(mode="json")).encode()


def assemble(batch: Batch, entries: Sequence[bytes]) -> bytes:
    """The bytes of `batch`, whose entries are encoded already."""
    envelope = batch.model_dump(mode="json", exclude={"entries"})
    # Members stand in the order of their names: "cluster" alone is before "entries".
    first, rest = canonical({"cluster": envelope.pop("cluster")}), canonical(envelope)
    body = b'%s,"entries":[%s],%s' % (first[:-1].encode(), b",".join(entries), rest[1:].encode())
    return body[:-1] + b',"checksum":"%s"}' % digest(body).encode()


def packed(entries: Iterable[Entry]) -> list[tuple[list[Entry], list[bytes]]]:
    """Entries in as few batches as can hold them, in order, each batch with its entries' bytes.

    An entry of more than `MAX_ENTRY` bytes is the first in its batch.
    """
    batches: list[tuple[list[Entry], list[bytes]]] = []
    room = 0
    for entry in entries:
        data = encode_entry(entry)
        if not batches or len(data) + 1 > room:
            batches.append(([], []))
            room = MAX_ENTRY
        batches[-1][0].append(entry)
        batches[-1][1].append(data)
        room -= len(data) + 1
    return batches


def decode(data: bytes) -> Batch:
    """The batch that was stored as `data`.

    Raises:
        NewerBatch: a newer release wrote it.
        MalformedBatch: the checksum does not match, or this is not a batch at all.
    """
    if len(data) > MAX_BATCH:
        raise MalformedBatch(f"{len(data)} bytes are more than a batch may have ({MAX_BATCH})")
    found = _CHECKSUM.search(data[-_CHECKSUM_LENGTH:])
    if found is None:
        raise MalformedBatch("it does not end in a checksum")
    body = data[:-_CHECKSUM_LENGTH] + b"}"
    if digest(body) != found[1].decode():
        raise MalformedBatch("its checksum does not match its content")
    try:
        return Batch.model_validate_json(body)
    except ValidationError as error:
        if (version := _version(body)) > FORMAT:
            raise NewerBatch(
                f"written by a newer release (format {version}, this one reads up to {FORMAT}): upgrade"
            ) from error
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise MalformedBatch(f"{place}: {first['msg']}") from error


def _version(body: bytes) -> int:
    """The format that a batch says it has; 0 where it says none."""
    with contextlib.suppress(ValueError):
        match json.loads(body):
            case {"version": int(version)}:
                return version
    return 0


def digest(data: bytes) -> str:
    """SHA-256, in hex."""
    return hashlib.sha256(data).hexdigest()


def journal_prefix(namespace: str) -> str:
    """Return the prefix of the keys of a namespace's journal."""
    return f"ledger/{namespace}/journal/"


def journal_key(namespace: str, sequence: int) -> str:
    """Return the key of a batch."""
    return f"{journal_prefix(namespace)}{sequence:012d}.json"


def sequence_of(namespace: str, key: str) -> int | None:
    """The sequence number in `key`, or `None` where it is no batch of this namespace."""
    found = _SEQUENCE.fullmatch(key.removeprefix(journal_prefix(namespace)))
    return int(found[1]) if found else None
