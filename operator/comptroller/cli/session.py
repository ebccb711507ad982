"""One `comptroller run`: read manifests, run the controller on this machine, and print progress."""

import asyncio
import fcntl
import os
import re
import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from comptroller.actions import Action
from comptroller.admission import Manifest, ManifestError, Refusal, admit, read
from comptroller.cli.ended import ended
from comptroller.cli.progress import Progress
from comptroller.cli.tables import standing
from comptroller.cluster.local import Local, Machine
from comptroller.controller import Controller
from comptroller.ledger import audit
from comptroller.ledger.anchor import DirectoryAnchor
from comptroller.ledger.journal import Journal, JournalError
from comptroller.ledger.store import StoreError, Unavailable
from comptroller.ledger.stores import Objects, open_store
from comptroller.world import World
from comptroller_api.budget import Budget
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Study

log = structlog.get_logger()

CLUSTER = "local"
"""The cluster name in the journal of a local run."""
_PASS_EVERY = 0.5
_UNAVAILABLE_LIMIT = 120
"""Passes in a row without the store, about a minute, before giving up."""
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/=-]*")


class RunError(Exception):
    """The run cannot begin or continue; the message says why."""


def check_directory(directory: Path) -> None:
    """Raise `RunError` if a path needs escapes in a URI."""
    if not _PLAIN_PATH.fullmatch(str(directory)):
        raise RunError(f"--dir {str(directory)!r}: only A-Z a-z 0-9 . _ = - and / may be in its path")


def manifests(files: Sequence[Path], data: str | None) -> list[Manifest]:
    """Return the objects of `files`, with the studies' data taken from `data` if that is given.

    Raises:
        RunError: a file cannot be read, no file has a study, or `data` cannot replace a study's data.
    """
    found: list[Manifest] = []
    for path in files:
        try:
            found += read(path)
        except (OSError, ManifestError) as error:
            raise RunError(str(error)) from error
    studies = [manifest.content for manifest in found if manifest.kind == "Study"]
    if not studies:
        raise RunError("no Study in " + ", ".join(map(str, files)))
    for content in studies:
        spec = content.get("spec")
        if data is not None and isinstance(spec, dict) and isinstance(spec.get("data"), dict):
            if "sources" in spec["data"]:
                raise RunError(
                    f"--data {data!r} is one place, and spec.data.sources has several: change them there"
                )
            spec["data"]["uri"] = data
    return found


def apply(
    local: Local, found: Sequence[Manifest], trainer: Callable[[Study], Sequence[Refusal]]
) -> list[str]:
    """Admit everything, then apply everything; nothing is applied where anything is refused.

    Args:
        local: where to.
        found: the manifests.
        trainer: what the trainer would refuse of a study.

    Returns:
        The refusals as sentences.
    """
    admitted: list[Study | Budget | PriceList] = []
    refused: list[str] = []
    machine = Machine.this()
    for manifest in found:
        old = local.objects.stored(manifest.content)
        verdict = admit(manifest.content, old.to_json() if old is not None else None)
        one = verdict.object
        where = f"{manifest.source}:{manifest.line}: {manifest.kind} {manifest.name!r}"
        refusals: list[str | Refusal] = list(verdict.refusals)
        if isinstance(one, Study) and (why := machine.refusal(one.spec.runtime.resources)) is not None:
            refusals.append(f"spec.runtime.resources: {why}")
        elif isinstance(one, Study) and (wrong := trainer(one)):
            refusals += wrong
        elif isinstance(one, Study | Budget | PriceList):
            admitted.append(one)
        elif one is not None:
            refusals.append("only Study, Budget and PriceList can be run")
        refused += [f"{where}: {refusal}" for refusal in refusals]
    if not refused:
        for one in admitted:
            local.objects.apply(one)
    return refused


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold `directory`, which one run at a time may use.

    Raises:
        RunError: another run holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = os.open(directory / ".run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"another `comptroller run` is using {directory}") from error
        yield
    finally:
        os.close(lock)


def ledger_uri(directory: Path) -> str:
    """Return the URI of a local run's ledger."""
    return f"file://{directory / 'ledger'}"


def verify(directory: Path, namespace: str) -> str:
    """Read a namespace's journal from its first byte, as anybody can.

    Returns:
        A sentence for a person.

    Raises:
        RunError: the journal does not verify.
    """
    try:
        verdict = audit.verify(open_store(ledger_uri(directory)), namespace)
    except StoreError as error:
        raise RunError(f"the ledger cannot be read: {error}") from error
    if not verdict.passed:
        first = verdict.violations[0]
        raise RunError(f"the ledger does not verify: batch {first.sequence}: {first.rule}: {first.detail}")
    return (
        f"verified, {verdict.entries} entries in {verdict.batches} batches,"
        " spent + held over no ceiling after any of them"
    )


class Session:
    """The controller on one directory, until every study in it is over or nothing more can happen."""

    def __init__(
        self, directory: Path, local: Local, progress: Progress, tell: Callable[[str], None]
    ) -> None:
        """Wire the parts; `tell` prints a line."""
        self._local, self._progress, self._tell = local, progress, tell
        store = open_store(ledger_uri(directory))
        writer = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        self._controller = Controller(
            local,
            lambda namespace: Journal(store, CLUSTER, namespace, writer, _now),
            Objects(),
            _now,
            observer=self._observe,
            anchor=DirectoryAnchor(directory / "anchors"),
            ledger=ledger_uri(directory),
        )
        self._open: dict[str, bool] = {}
        self._interrupts = 0

    async def run(self) -> None:
        """Run until every study is over.

        Raises:
            RunError: the ledger cannot be read or written.
            KeyboardInterrupt: interrupted twice; what runs ends at its lease.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt)
        failures = 0
        try:
            while True:
                try:
                    busy = [
                        await self._controller.reconcile(name) for name in self._local.objects.namespaces()
                    ]
                except (Unavailable, JournalError) as error:
                    failures += 1
                    log.warning("pass failed", error=str(error))
                    if failures >= _UNAVAILABLE_LIMIT or isinstance(error, JournalError):
                        raise RunError(str(error)) from error
                else:
                    failures = 0
                    if not any(busy) and self._over():
                        return
                if self._interrupts > 1:
                    raise KeyboardInterrupt
                await asyncio.sleep(_PASS_EVERY)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            await self._local.close()

    def _interrupt(self) -> None:
        self._interrupts += 1
        if self._interrupts > 1:
            return
        self._tell("suspending: trials write checkpoints (again: leave at once; they end at their lease)")
        for namespace in self._local.objects.namespaces():
            for study in self._local.objects.studies(namespace):
                if not ended(study):
                    self._local.objects.suspend(namespace, study.metadata.name, suspended=True)

    def _observe(self, namespace: str, world: World, actions: list[Action]) -> None:
        del actions
        self._open[namespace] = bool(world.books.open)
        self._progress.show(world)

    def _over(self) -> bool:
        """Return true if nothing runs, and every study has ended, is held, or is suspended."""
        objects = self._local.objects
        studies = [s for name in objects.namespaces() for s in objects.studies(name)]
        settled = {"Complete", "Failed", "Held", "Suspended"}
        return not any(self._open.values()) and all(standing(study)[0] in settled for study in studies)


def _now() -> int:
    return int(time.time())
