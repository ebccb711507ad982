"""The ledger's requirements on object storage: the contract of every store, and its failures."""

import re
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator

MAX_OBJECT = 64 * 2**20
"""The most bytes that `get` reads by default; a trainer that leaves more cannot exhaust the operator."""

PROBE_KEY = "ledger/probe"
_KEY = re.compile(r"(?!(.*/)?\.{1,2}(/|\Z))[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*")


class StoreError(Exception):
    """A store could not do what was requested."""


class Exists(StoreError):  # noqa: N818 - says what happened
    """`create` found the key taken. It may have been taken by this very call, whose first reply was lost."""


class Conflict(StoreError):  # noqa: N818 - says what happened
    """Another write of the same key was under way and this one had no effect. Trying again is right."""


class Ambiguous(StoreError):  # noqa: N818 - says what happened
    """The reply was lost: nobody knows whether the call took effect, or still will."""


class Unavailable(StoreError):  # noqa: N818 - says what happened
    """The call had no effect: the store was not reached, did not allow it, or did not accept the request."""


class TooLarge(Unavailable):
    """The object has more bytes than the caller would read; nothing of it was kept."""


class NoConditionalWrites(StoreError):  # noqa: N818 - says what happened
    """The store overwrites where it should create; no ledger can be kept in it."""


class NoObjectLock(StoreError):  # noqa: N818 - says what happened
    """Batches are to be kept from deletion, and the bucket cannot do so."""


class Store(ABC):
    """Objects by key, written once.

    A journal is safe on any implementation with these promises; `tests/conformance` checks each of them.

    * Keys are relative to the store's root: segments of `A-Z a-z 0-9 _ . = -` joined by `/`.
    * `create` takes effect whole or not at all, and of any number of callers that race for a key exactly one
      succeeds. It is durable when it returns.
    * Reads see every write that returned before they began, by any writer (S3 has promised so since 2020).
    * Nothing is retried inside `create`: the caller decides, after reading back.
    * All methods block, and may be called from several threads at once.
    """

    @abstractmethod
    def create(self, key: str, data: bytes) -> None:
        """Write an object that must not exist yet.

        Raises:
            Exists: the key is taken; nothing was changed.
            Conflict: a race; nothing was changed, and nobody may have won.
            Ambiguous: unknown whether it took effect, or will within the store's time limits.
            Unavailable: it did not take effect.
        """

    @abstractmethod
    def get(self, key: str, limit: int = MAX_OBJECT) -> bytes | None:
        """Return the object's bytes, or `None` if the object does not exist.

        Raises:
            Unavailable: not known, or more than `limit` bytes.
        """

    def get_many(self, keys: Iterable[str], limit: int = MAX_OBJECT) -> Generator[bytes | None]:
        """`get` of each key, in order; for long reads. A store whose reads are slow reads ahead.

        Callers that stop early must close the generator.
        """
        return (self.get(key, limit) for key in keys)

    @abstractmethod
    def keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        """Keys that begin with `prefix` and sort after `after` (itself excluded), in ascending byte order.

        Raises:
            Unavailable: not known; also midway through the iteration.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object, if it is there. Only for what can be derived again, such as snapshots.

        Raises:
            Ambiguous: unknown whether it took effect.
            Unavailable: it did not take effect.
        """

    def probe(self) -> None:
        """Prove, by trying, that the store refuses to overwrite. Leaves one small object behind.

        Raises:
            NoConditionalWrites: it does not; the message says what it did.
            Unavailable: the store could not be tried.
        """
        for attempt in (b"first", b"second"):
            try:
                self.create(PROBE_KEY, b"comptroller probe: " + attempt + b"\n")
            except Exists:
                return
            except (Conflict, Ambiguous) as error:
                raise Unavailable(f"the probe for conditional writes got no answer: {error}") from error
        raise NoConditionalWrites(
            f"the store took a second write of {PROBE_KEY!r} that was sent with If-None-Match: *;"
            " a ledger needs a store that answers 412 to it"
        )


def checked(key: str) -> str:
    """The key itself, where it is one.

    Raises:
        ValueError: the key is malformed, or tries to leave the store's root.
    """
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is not a key: segments of A-Z a-z 0-9 _ . = - joined by /")
    return key
