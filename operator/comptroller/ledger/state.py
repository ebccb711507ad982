"""The books as bytes: the canonical form of what the fold came to, its hash, and the way back.

Lines of JSON. First, in the order in which they were closed, the closed attempts, which never change: an
array each, and before the first attempt of its kind an object with what attempts of that kind have in common.
So these lines only grow, and are hashed and compressed as they come: the state of a million entries costs
what was closed since the last one. The last line is everything else: where in which journal this is, what its
accounts hold, prices, manifests, and open attempts.

The same journal always folds to the same bytes, from nothing or from a snapshot. Every change of the rules of
the fold or of this form counts up `VERSION`; states of other versions are neither believed nor checked.
"""

import gc
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Account, Attempt, Books, Lease
from comptroller.ledger.encoding import Head, canonical
from comptroller.ledger.entries import Adjust, Approval, Manifest, Place, Price, State, Takeover
from comptroller_api.study import Resources

VERSION = 2

_GZIP = 31
"""zlib's `wbits` for a gzip header, without a time in it."""
_FAST = 1
_CHUNK = 2**18
"""Bytes that are parsed at once."""

Kind: TypeAlias = tuple[str, str, str, Resources, tuple[AccountName, ...], tuple[str, int] | None]
"""Study, node class, capacity, resources, accounts, and the price's name and revision."""


class UnreadableState(ValueError):  # noqa: N818 - says what it is
    """The bytes are not those of a state."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A state at one moment."""

    head: Head
    state: State
    compressed: bytes


@dataclass(frozen=True, slots=True)
class Restored:
    """The journal and position that a state was taken of."""

    cluster: str
    namespace: str
    head: Head
    books: Books
    recorder: "Recorder"
    """Ready to take the next one."""


class Recorder:
    """Takes the states of one journal's books as they grow. One caller at a time."""

    def __init__(self, cluster: str, namespace: str) -> None:
        """Start with an empty state."""
        self._cluster = cluster
        self._namespace = namespace
        self._closed = 0
        """The number of closed attempts in the hash."""
        self._kinds: dict[Kind, int] = {}
        self._size = 0
        self._hash = hashlib.sha256()
        self._compressor = zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP)
        self._compressed: list[bytes] = []

    def take(self, books: Books, head: Head) -> Taken:
        """The state of `books`, which are what was folded up to `head`: later ones of the same books."""
        self._grow(b"".join(self._line(attempt) for attempt in books.closed[self._closed :]))
        self._closed = len(books.closed)
        last = canonical(self._rest(books, head)).encode() + b"\n"
        whole, end = self._hash.copy(), self._compressor.copy()
        whole.update(last)
        state = State(version=VERSION, size=self._size + len(last), sha256=whole.hexdigest())
        return Taken(head, state, b"".join([*self._compressed, end.compress(last), end.flush()]))

    def resume(self, lines: bytes, books: Books, kinds: dict[Kind, int]) -> None:
        """Go on from `books`, whose closed attempts are `lines`, of `kinds` by their numbers."""
        self._closed = len(books.closed)
        self._kinds = kinds
        self._grow(lines)

    def _grow(self, lines: bytes) -> None:
        self._size += len(lines)
        self._hash.update(lines)
        self._compressed.append(self._compressor.compress(lines))

    def _line(self, attempt: Attempt) -> bytes:
        kind = _kind(attempt)
        number = self._kinds.get(kind)
        line = ""
        if number is None:
            number = self._kinds[kind] = len(self._kinds)
            line = canonical(_common(attempt)) + "\n"
        return f"{line}{canonical([number, *_own(attempt)])}\n".encode()

    def _rest(self, books: Books, head: Head) -> dict[str, Any]:
        return {
            "version": VERSION,
            "cluster": self._cluster,
            "namespace": self._namespace,
            "sequence": head.sequence,
            "hash": head.hash,
            "overruns": books.overruns,
            "takeover": books.takeover and books.takeover.model_dump(mode="json"),
            # Lists, not objects: what is read back stands in the order in which it came.
            "accounts": [{"account": name, **asdict(account)} for name, account in books.accounts.items()],
            "prices": [price.model_dump(mode="json") for price in books.prices.values()],
            "manifests": [manifest.model_dump(mode="json") for manifest in books.manifests.values()],
            "approvals": [approval.model_dump(mode="json") for approval in books.approvals.values()],
            "covered": [[study, sorted(budgets)] for study, budgets in books.covered.items()],
            "open": [
                [
                    _common(attempt),
                    _own(attempt),
                    [price.model_dump(mode="json") for price in attempt.changes],
                    [attempt.job, attempt.bound],
                    [place.model_dump(mode="json") for place in attempt.places],
                ]
                for attempt in books.open.values()
            ],
            "adjustments": [
                entry.model_dump(mode="json") for found in books.adjustments.values() for entry in found
            ],
        }


def restore(compressed: bytes, state: State) -> Restored:
    """The books that `state` is the state of.

    Raises:
        UnreadableState: `compressed` is not that state, to the last bit.
    """
    if state.version != VERSION:
        raise UnreadableState(f"it is of version {state.version}, this is {VERSION}")
    content = inflate(compressed, state.size)
    if len(content) != state.size or hashlib.sha256(content).hexdigest() != state.sha256:
        raise UnreadableState("its content is not what the chain has the hash of")
    try:
        with _no_collection():
            return _restored(content)
    except (ValueError, TypeError, KeyError, IndexError) as error:  # the chain vouches for nonsense
        raise UnreadableState(f"{type(error).__name__}: {error}") from error


def inflate(compressed: bytes, limit: int) -> bytes:
    """Return the decompressed bytes.

    Raises:
        UnreadableState: it is damaged, or larger than `limit` bytes.
    """
    stream = zlib.decompressobj(_GZIP)
    try:
        content = stream.decompress(compressed, limit + 1)
    except zlib.error as error:
        raise UnreadableState(str(error)) from error
    if len(content) > limit:
        raise UnreadableState(f"it holds more than {limit} bytes")
    if not stream.eof or stream.unused_data:
        raise UnreadableState("it is not one whole gzip stream")
    return content


def _restored(content: bytes) -> Restored:
    closed = content.rfind(b"\n", 0, -1) + 1
    rest = json.loads(content[closed:])
    books = Books(
        accounts={AccountName(line.pop("account")): Account(**line) for line in rest["accounts"]},
        prices={line["node_class"]: Price.model_validate(line) for line in rest["prices"]},
        manifests={line["study"]: Manifest.model_validate(line) for line in rest["manifests"]},
        approvals={line["study"]: Approval.model_validate(line) for line in rest["approvals"]},
        covered={study: frozenset(budgets) for study, budgets in rest["covered"]},
        overruns=rest["overruns"],
        takeover=rest["takeover"] and Takeover.model_validate(rest["takeover"]),
    )
    prices = {(price.node_class, price.revision): price for price in books.prices.values()}
    commons: list[_Common] = []
    books.admit_closed(_attempts(_lines(content[:closed]), commons, books, prices))
    kinds = {common.kind: number for number, common in enumerate(commons)}
    recorder = Recorder(rest["cluster"], rest["namespace"])
    recorder.resume(content[:closed], books, kinds)
    for common, own, changes, (job, bound), places in rest["open"]:
        attempt = _Common(common, books, prices).attempt(own)
        attempt.changes = tuple(Price.model_validate(price) for price in changes)
        attempt.job, attempt.bound = job, bound
        attempt.places = tuple(Place.model_validate(place) for place in places)
        books.admit(attempt)
    for line in rest["adjustments"]:
        entry = Adjust.model_validate(line)
        books.adjustments.setdefault(entry.key, []).append(entry)
    head = Head(rest["sequence"], rest["hash"])
    return Restored(rest["cluster"], rest["namespace"], head, books, recorder)


def _attempts(
    lines: Iterable[Any], commons: list["_Common"], books: Books, prices: dict[tuple[str, int], Price]
) -> Iterator[Attempt]:
    """The attempts in `lines`; what they have in common is added to `commons`."""
    for line in lines:
        if isinstance(line, dict):
            commons.append(_Common(line, books, prices))
        else:
            yield commons[line[0]].attempt(line[1:])


def _lines(content: bytes) -> Iterator[Any]:
    """The value of each line; many in one call, which is faster, and not all, which takes more memory."""
    start = 0
    while start < len(content):
        end = content.find(b"\n", start + _CHUNK)
        end = len(content) - 1 if end < 0 else end
        # JSON has no line breaks within its values.
        yield from json.loads(b"[%s]" % content[start:end].replace(b"\n", b","))
        start = end + 1


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause garbage collection while many objects without cycles are made: it would walk them all, often."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _kind(attempt: Attempt) -> Kind:
    price = (attempt.price.node_class, attempt.price.revision) if attempt.price else None
    return attempt.study, attempt.node_class, attempt.capacity, attempt.resources, attempt.accounts, price


def _common(attempt: Attempt) -> dict[str, Any]:
    return {
        "study": attempt.study,
        "node_class": attempt.node_class,
        "capacity": attempt.capacity,
        "resources": attempt.resources.model_dump(mode="json"),
        "accounts": attempt.accounts,
        "price": attempt.price and attempt.price.model_dump(mode="json"),
    }


def _own(attempt: Attempt) -> list[Any]:
    """Return what an attempt shares with no other; its leases as one row of amount, seconds, posted."""
    leases = [value for lease in attempt.leases for value in (lease.amount, lease.seconds, lease.posted)]
    return [
        attempt.trial,
        attempt.number,
        attempt.name,
        attempt.rung,
        attempt.end,
        attempt.reason,
        attempt.seconds,
        attempt.started,
        attempt.ended,
        leases,
        attempt.report,
    ]


class _Common:
    """The common values of attempts of one kind, once for all of them."""

    def __init__(self, line: dict[str, Any], books: Books, prices: dict[tuple[str, int], Price]) -> None:
        price = line["price"] and Price.model_validate(line["price"])
        if price:
            # Of each revision there is one, also where the books still have it.
            price = prices.setdefault((price.node_class, price.revision), price)
        self._price: Price | None = price
        self._resources = books.share(Resources.model_validate(line["resources"]))
        self._accounts = books.share(tuple(map(AccountName, line["accounts"])))
        self._study, self._node_class, self._capacity = line["study"], line["node_class"], line["capacity"]

    @property
    def kind(self) -> Kind:
        price = (self._price.node_class, self._price.revision) if self._price else None
        return self._study, self._node_class, self._capacity, self._resources, self._accounts, price

    def attempt(self, own: list[Any]) -> Attempt:
        trial, number, name, rung, end, reason, seconds, started, ended, leases, report = own
        row = iter(leases)
        return Attempt(
            self._study,
            trial,
            number,
            name,
            rung,
            self._node_class,
            self._capacity,
            self._resources,
            self._accounts,
            [Lease(amount, lent, posted) for amount, lent, posted in zip(row, row, row, strict=True)],
            self._price,
            end,
            reason,
            seconds,
            started,
            ended,
            report=report,
        )
