"""Measure the ledger's speed, as ratios within one run against one S3 server on this machine.

* Appends: 100 attempts that renew at the same time, in batches as a pass writes them, against one PUT per
  entry.
* Replay: the start of an operator, with and without snapshots, at 10,000, 100,000 and 1,000,000 entries.
* Memory: books of 100,000 closed attempts, in a separate process.

The S3 server is versitygw, as `hack/cluster` builds it; it runs on the loopback interface without latency.

    uv run python benchmarks/ledger.py --log benchmarks/logs/ledger.log
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
from server import versitygw

from comptroller.ledger.books import Books
from comptroller.ledger.entries import Entry
from comptroller.ledger.journal import Journal
from comptroller.ledger.snapshots import stored
from comptroller.ledger.store import Store
from comptroller.ledger.stores import DirectoryStore, S3Store
from comptroller.ledger.testing import ceiling, close, manifest, post, price, reserve

ATTEMPTS = 100
ROUNDS = 20
SIZES = (10_000, 100_000, 1_000_000)
BATCH = 100
"""The number of entries that a pass over a busy namespace writes at once."""
REMEMBERED = 100_000
OPENING: list[Entry] = [manifest(), ceiling(10**14), price()]


def journal(store: Store, namespace: str = "team") -> Journal:
    """Return a journal that has read nothing."""
    return Journal(store, "cluster", namespace, "benchmark", lambda: int(time.time()))


def appended(store: Store, namespace: str, rounds: int, *, grouped: bool) -> float:
    """Return the entries per second of attempts that all renew in each round."""
    one = journal(store, namespace)
    one.catch_up()
    one.append([*OPENING, *(reserve(1, trial) for trial in range(ATTEMPTS))])
    began = time.perf_counter()
    for lease in range(1, rounds + 1):
        renewals = [reserve(1, trial, lease=lease) for trial in range(ATTEMPTS)]
        for batch in [renewals] if grouped else [[entry] for entry in renewals]:
            if not one.append(batch):
                raise AssertionError("nobody else writes here")
    return ATTEMPTS * rounds / (time.perf_counter() - began)


def lives(attempts: int) -> Iterator[Entry]:
    """Return three entries for an attempt: a lease, its cost, its end."""
    for trial in range(attempts):
        yield from (reserve(1000, trial), post(900, trial), close(trial))


def grow(one: Journal, written: int, size: int) -> int:
    """Append until there are about `size` entries; return their number."""
    batch: list[Entry] = []
    if not written:
        one.catch_up()
        one.append(OPENING)
    for trial in range(written // 3, size // 3):
        batch += (reserve(1000, trial), post(900, trial), close(trial))
        if len(batch) >= BATCH:
            one.append(batch)
            batch = []
    if batch:
        one.append(batch)
    return size // 3 * 3


class Replay(NamedTuple):
    """The start of an operator until it has the books."""

    journal: Journal
    wall: float
    """The elapsed seconds."""
    cpu: float
    """The CPU seconds of this process; on a busy machine the rest is waiting for a core."""

    def __str__(self) -> str:
        return f"{self.wall:6.2f} s ({self.cpu:5.2f} s of a core)"


def replayed(store: Store) -> Replay:
    """Start an operator."""
    one = journal(store)
    wall, cpu = time.perf_counter(), time.process_time()
    one.catch_up()
    return Replay(one, time.perf_counter() - wall, time.process_time() - cpu)


def replays(directory: Path) -> Iterator[str]:
    """Yield the time of a replay as a journal grows."""
    store, written = DirectoryStore(directory), 0
    writer = journal(store)
    for size in SIZES:
        written = grow(writer, written, size)
        started = replayed(store)
        kept = {key: store.get(key) for key, _ in stored(store, "team")}
        for key in kept:
            store.delete(key)
        gone = replayed(store)
        for key, data in kept.items():
            store.create(key, data or b"")
        if started.journal.books.accounts != gone.journal.books.accounts:
            raise AssertionError("a snapshot and the batches disagree")
        yield (
            f"replay of {size:>9,} entries: {started} from snapshots, {gone} from nothing,"
            f" {gone.cpu / size * 1e6:.1f} us of a core an entry"
        )


def remember() -> None:
    """Print the growth of a process's resident memory in MiB through the books of so many attempts."""
    before = psutil.Process().memory_info().rss
    books = Books()
    for entry in [*OPENING]:
        books.apply(entry)
    for entry in lives(REMEMBERED):
        if (rule := books.apply(entry)) is not None:
            raise AssertionError(rule)
    print(f"{(psutil.Process().memory_info().rss - before) / 2**20:.0f}")


def figures(rounds: int) -> Iterator[str]:
    """Yield every line of the table."""
    yield f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    with tempfile.TemporaryDirectory() as directory, versitygw(Path(directory), "ledger") as endpoint:
        store = S3Store("ledger", "benchmark", endpoint=endpoint)
        grouped = appended(store, "grouped", rounds, grouped=True)
        single = appended(store, "single", max(1, rounds // 10), grouped=False)
    yield (
        f"appends of {ATTEMPTS} concurrent attempts: {grouped:,.0f} entries/s grouped,"
        f" {single:,.0f} one a PUT, {grouped / single:.0f} to 1"
    )
    with tempfile.TemporaryDirectory() as directory:
        yield from replays(Path(directory))
    command = [sys.executable, __file__, "--memory"]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    yield f"memory of {REMEMBERED:,} attempts: {child.stdout.strip()} MiB"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="renewals of each attempt")
    parser.add_argument("--log", type=Path, help="also write what is printed to this file")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        remember()
        return
    lines = []
    for line in figures(args.rounds):
        print(line, flush=True)
        lines.append(line)
    if args.log is not None:
        args.log.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
