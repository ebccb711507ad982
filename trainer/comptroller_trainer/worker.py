"""The worker: do the assignment, and report the result by exit code.

`python -m comptroller_trainer.worker --started SECONDS`, under the guard. Slow imports come after
the heartbeat is up and SIGTERM is handled.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from pathlib import Path

import structlog

from comptroller_api.contract import MAX_REPORT, Assignment, Report, digest_line, report_key
from comptroller_trainer.errors import (
    AssignmentError,
    DivergedError,
    MissingError,
    NoGainError,
    ObjectStoreError,
    Suspended,
    UnavailableError,
    out_of_memory,
)
from comptroller_trainer.measure.pace import Fastest
from comptroller_trainer.meter import Meter
from comptroller_trainer.report.mlflow_tracking import track
from comptroller_trainer.runtime import assignment as assignments
from comptroller_trainer.runtime import cpus, protocol
from comptroller_trainer.runtime.heartbeat import HeartbeatServer
from comptroller_trainer.runtime.progress import AttemptProgress
from comptroller_trainer.runtime.stage_timer import StageTimer
from comptroller_trainer.runtime.stop import StopSignal
from comptroller_trainer.store import ObjectStore, open_store

_log = structlog.get_logger("worker")


def main(argv: list[str] | None = None) -> int:
    """Do the assignment in the environment, and return the exit code."""
    parser = argparse.ArgumentParser(prog="comptroller_trainer.worker")
    parser.add_argument("--started", type=float, default=time.monotonic(), help="the guard's monotonic start")
    started = parser.parse_args(argv).started
    structlog.configure(
        processors=[
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.add_log_level,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    stop = StopSignal()
    try:
        stop.listen()
        _attempt(assignments.read(os.environ), stop, started)
    except Suspended:
        return _end(protocol.EXIT_SUSPENDED, "stopped by SIGTERM")
    except NoGainError as error:
        return _end(
            protocol.EXIT_NO_GAIN, f"{error}\n{protocol.last_reason()}".strip()
        )  # the report's digest
    except AssignmentError as error:
        diverged = isinstance(error, DivergedError)
        return _end(protocol.EXIT_DIVERGED if diverged else protocol.EXIT_BAD_ASSIGNMENT, str(error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the reason goes where the operator reads it
        traceback.print_exc()
        return _end(*_unexpected(error))
    return protocol.EXIT_FINISHED


def _unexpected(error: Exception) -> tuple[int, str]:
    """Return the exit code and the reason of an error that is not the assignment's."""
    if isinstance(error, UnavailableError | MissingError):
        return protocol.EXIT_UNAVAILABLE, _first_line(error)
    if out_of_memory(error):
        return protocol.EXIT_OUT_OF_MEMORY, f"out of memory: {_first_line(error)}"
    return protocol.EXIT_ERROR, f"{type(error).__name__}: {_first_line(error)}"


def _attempt(assignment: Assignment, stop: StopSignal, started: float) -> None:
    requested = cpus.requested()
    meter = Meter(requested)
    progress = AttemptProgress(assignment.name, started, assignment.lease_seconds, meter)
    server = HeartbeatServer(progress, assignment.heartbeat_port)
    meter.start()
    server.start()
    try:
        store = open_store(assignment.artifacts)
        if _reported(store, assignment):
            _log.info("already reported", name=assignment.name)
            return
        with tempfile.TemporaryDirectory(prefix="comptroller-") as directory:
            try:
                report = _run(assignment, store, StageTimer(progress, stop), Path(directory))
            except NoGainError as error:
                if error.report is not None:
                    with stop.deferred():
                        _publish(store, assignment, error.report)
                raise
            if report is None:
                return  # another process has the model too, and reports
            with stop.deferred():  # the work is done: a report takes less time than doing it again
                _publish(store, assignment, report)
            with suppress(Suspended):  # the report stands
                track(assignment, report, store, Path(directory))
    finally:
        server.close()
        meter.close()


def _run(assignment: Assignment, store: ObjectStore, timer: StageTimer, directory: Path) -> Report | None:
    threads = cpus.threads()
    # Read when torch's libraries load. Threads that wait must not spin: it burns the CPU share of a pod that
    # has neighbours (six times the seconds, measured on two busy cores), and makes idleness look like work.
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")

    from comptroller_trainer.recipe.parse import parse  # noqa: PLC0415 - reads the variables set above

    parsed = parse(assignment.parameters)
    import torch  # noqa: PLC0415 - three seconds

    from comptroller_trainer.learning import distributed  # noqa: PLC0415 - imports torch
    from comptroller_trainer.trial import TrialRunner, agreed_on  # noqa: PLC0415 - imports torch

    torch.set_num_threads(threads)
    # Not use_deterministic_algorithms: on CPUs all that we use is deterministic, and it imports the compiler
    # (4 s) and fills every fresh tensor (a fifth of a step).
    torch.backends.cudnn.deterministic = True
    peers = distributed.join(os.environ, agreed_on(assignment), timer.stop)
    try:
        with Fastest() as fastest:
            return TrialRunner(assignment, parsed, store, timer, threads, directory, peers, fastest).run()
    finally:
        peers.close()


def _reported(store: ObjectStore, assignment: Assignment) -> bool:
    """Return true if this very attempt has left its report: a restarted container then has nothing to do.

    Others may hold the key to the artifacts, so the object alone proves nothing: an earlier run of this
    attempt has left the report's digest in the termination message, which only this pod can write.

    Raises:
        ObjectStoreError: a report is there, and this attempt has not written it.
    """
    key = report_key(assignment.attempt)
    try:
        found = store.get(key)
    except MissingError:
        return False
    if digest_line(found) != protocol.last_reason():
        raise ObjectStoreError(
            f"{store.uri_of(key)} exists, and this attempt has not written it: another holder of the"
            " artifacts' key has, so nothing is reported"
        )
    if (name := Report.model_validate_json(found).name) != assignment.name:
        raise ObjectStoreError(f"{store.uri_of(key)} is of {name}, not of {assignment.name}")
    return True


def _publish(store: ObjectStore, assignment: Assignment, report: Report) -> None:
    """Write the report before exit 0 (P3), and its digest to the termination message.

    Raises:
        ObjectStoreError: the store does not answer, or has another report under this attempt's key.
    """
    key = report_key(assignment.attempt)
    data = report.model_dump_json(by_alias=True, exclude_none=True).encode()
    if len(data) > MAX_REPORT:
        raise ObjectStoreError(f"the report has {len(data)} bytes; {MAX_REPORT} are read")
    protocol.say_why(digest_line(data))
    if not store.create(key, data):
        raise ObjectStoreError(
            f"{store.uri_of(key)} exists already, with other content than this attempt's report"
        )
    _log.info("reported", uri=store.uri_of(key))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:500]


def _end(code: int, reason: str) -> int:
    protocol.say_why(reason)
    _log.info("ending", exit=code, reason=reason)
    return code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # All results are in the store. Unloading torch takes seconds of a short grace period.
    os._exit(code)
