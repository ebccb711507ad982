"""Run a finished trial again from its report and artifacts."""

import hashlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from comptroller.cli.reproduced import COMPARED, Left, digest
from comptroller.ledger.store import StoreError
from comptroller.ledger.stores import Objects
from comptroller_api.contract import ASSIGNMENT_ENV, TRACKING_ENV, Artifact, Assignment, Report, report_key
from comptroller_api.text import plain
from comptroller_api.trial import Trial

ASSIGNMENT = "assignment.json"
_LEASE = 30 * 86_400
"""Seconds. The guard needs a lease, as in a pod; here the user stops a run that takes too long."""
_TAIL = 4000
"""Bytes of the log's end that an error quotes."""


class AgainError(Exception):
    """The trial cannot be run again or compared; the message says why."""


def left(uri: str) -> Left:
    """Return the report at `uri` and the digests of its artifacts, none of which may have changed since.

    Raises:
        AgainError: an object is gone, cannot be read, or has changed since.
    """
    objects = Objects()
    try:
        report = Report.model_validate_json(_read(objects, uri))
    except ValidationError as error:
        raise AgainError(f"{uri} is not a report: {error}") from error
    digests = {}
    for artifact in report.artifacts:
        if artifact.name in COMPARED:
            content = _verified(objects, artifact)
            try:
                digests[artifact.name] = digest(artifact.name, content)
            except (ValueError, KeyError, OSError) as error:
                raise AgainError(f"{artifact.uri} is not what its name says: {error}") from error
    return Left(report, digests)


def last_report(trial: Trial) -> str:
    """Return the URI of the report of the last rung that a trial has finished.

    Raises:
        AgainError: no rung is finished.
    """
    rungs = trial.status.rungs if trial.status else []
    if not rungs or not rungs[-1].report:
        raise AgainError(f"trial {trial.metadata.name} has finished no rung: there is nothing to compare")
    return rungs[-1].report


def assignment(trial: Trial, report: Report) -> Assignment:
    """Return the assignment of the report's attempt.

    Raises:
        AgainError: the assignment is missing, is not the trial's, or needs more than one process.
    """
    found = next((one for one in report.artifacts if one.name == ASSIGNMENT), None)
    if found is None:
        raise AgainError(f"the report of {report.name} names no {ASSIGNMENT}: its trainer left none")
    try:
        work = Assignment.model_validate_json(_verified(Objects(), found))
    except ValidationError as error:
        raise AgainError(f"{found.uri} is not an assignment: {error}") from error
    spec = trial.spec
    if (work.trial, work.seed, work.parameters) != (spec.number, spec.seed, spec.parameters):
        raise AgainError(f"{found.uri} is not the assignment of trial {trial.metadata.name}")
    if (processes := report.environment.get("processes", "1")) != "1":
        raise AgainError(f"{processes} processes trained {report.name} together, and here is one")
    return work


def elsewhere(work: Assignment, name: str, directory: Path, data: str | None) -> Assignment:
    """Return the same work as a first attempt in `directory`, on the data at `data` if that is given.

    Raises:
        AgainError: `data` is one place, and the work has several sources.
    """
    given = work.data
    if data is not None:
        if given.sources:
            raise AgainError(f"--data {data!r} is one place, and the trial's data have several")
        try:
            given = type(given).model_validate(given.to_json() | {"uri": data})
        except ValidationError as error:
            raise AgainError(f"--data {data!r}: {error.errors()[0]['msg']}") from error
    own = {
        "name": name, "attempt": 0, "artifacts": f"file://{directory}", "data": given,
        "lease_seconds": _LEASE, "heartbeat_port": 0,
    }  # fmt: skip
    return work.model_copy(update=own)


def run(work: Assignment, recorded: Mapping[str, str], command: Sequence[str], directory: Path) -> Left:
    """Do `work` in `directory`, with the threads and the device that a report's environment has `recorded`.

    Raises:
        AgainError: the trainer does not start, or does not finish; the message quotes its reason.
    """
    log, reason = directory / "log", directory / "termination-log"
    own = {name: value for name, value in os.environ.items() if name != TRACKING_ENV}
    environment = own | {
        ASSIGNMENT_ENV: work.model_dump_json(by_alias=True, exclude_none=True),
        "COMPTROLLER_GRANT_FILE": str(directory / "lease-seconds"),
        "COMPTROLLER_TERMINATION_LOG": str(reason),
    }
    if threads := recorded.get("threads"):
        environment |= {"COMPTROLLER_CPUS": threads, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    if recorded.get("device") == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    try:
        with log.open("wb") as out:
            code = _finished(command, environment, out)
    except OSError as error:
        raise AgainError(f"the trainer did not start: {error}") from error
    if code:
        why = reason.read_text() if reason.exists() else log.read_bytes()[-_TAIL:].decode(errors="replace")
        raise AgainError(f"the trainer ended with exit {code}: {plain(why, 4096)}")
    return left(f"{work.artifacts}/{report_key(work.attempt)}")


def _finished(command: Sequence[str], environment: Mapping[str, str], out: BinaryIO) -> int:
    """Return the exit code of `command`, which gets SIGTERM when this process does."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        with subprocess.Popen(command, env=environment, stdout=out, stderr=out) as trainer:  # noqa: S603
            try:
                return trainer.wait()
            except BaseException:
                trainer.terminate()
                trainer.wait()
                raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _verified(objects: Objects, artifact: Artifact) -> bytes:
    content = _read(objects, artifact.uri, artifact.size)
    found = hashlib.sha256(content).hexdigest()
    if found != artifact.sha256:
        raise AgainError(
            f"{artifact.uri} has changed: its SHA-256 is {found}, and its report says {artifact.sha256}"
        )
    return content


def _read(objects: Objects, uri: str, size: int | None = None) -> bytes:
    try:
        content = objects.get(uri) if size is None else objects.get(uri, size)
    except StoreError as error:
        raise AgainError(f"{uri} cannot be read: {error}") from error
    if content is None:
        raise AgainError(f"{uri} is gone")
    return content
