"""The guard: the container's first process, which ends the work when the seconds granted are used up.

The guard holds the ceiling without help (design, section 3): no network, no lock, no thread, no import
that could hang, and a worker that can always be killed. The monotonic clock starts with the pod's volumes.
"""

import ctypes
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from comptroller_trainer.runtime import protocol

_STARTED = time.monotonic()
_POLL = 1.0
"""Seconds between two looks at the grant file."""
_UNASSIGNED = (60, 10)
"""Lease and grace if the assignment cannot be read: time for the worker to report the fault."""
_STUCK = 5.0
"""Seconds after SIGKILL in which a process that the kernel can end has ended."""
_ENDING = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_SIGNALS = _ENDING | {signal.SIGCHLD}
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGNALLED = 128


def _log(event: str, **fields: object) -> None:
    """Log one line of JSON, in the worker's format."""
    sys.stderr.write(json.dumps({"event": event, "logger": "guard", **fields}) + "\n")
    sys.stderr.flush()


def terms(assignment: str | None) -> tuple[int, int]:
    """Lease and grace in seconds from the assignment's text; the worker validates the rest."""
    try:
        given = json.loads(assignment or "")
        lease = given.get("leaseSeconds", given.get("lease_seconds"))
        grace = given.get("graceSeconds", given.get("grace_seconds"))
    except (ValueError, AttributeError):
        return _UNASSIGNED
    # bool is an int in Python, and `true` is no number of seconds.
    if all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in (lease, grace)):
        return lease, grace
    return _UNASSIGNED


def waited(grants: Path, now: float) -> float:
    """Return the seconds of the lease before this process began: the time of the image pull is paid for.

    The kubelet makes the link of a downward-API file when it sets up the pod's volumes, which is before it
    pulls images, and by the same clock as `now` (unix seconds). Later grants move what the link points at,
    and leave the link. Without a link (a local run), the result is 0.
    """
    try:
        made = grants.lstat()
    except OSError:
        return 0.0
    return max(0.0, now - made.st_mtime) if stat.S_ISLNK(made.st_mode) else 0.0


class Guard:
    """Runs one worker under a lease.

    Args:
        command: what to run; its first word is the program's path.
        lease: seconds granted at the start.
        grace: seconds from SIGTERM to SIGKILL.
        grants: file with the seconds granted since the start, renewals included; never less than `lease`. It
            may fall: somebody may have raised it, and the operator lowers it back.
        started: the monotonic second the lease counts from.
    """

    def __init__(
        self, command: Sequence[str], lease: int, grace: int, grants: Path, started: float = _STARTED
    ) -> None:
        self._command = list(command)
        self._lease = self._granted = lease
        self._grace = grace
        self._grants = grants
        self._started = started
        self._worker = 0
        self._kill_at: float | None = None  # set once the worker got SIGTERM
        self._lease_ended = False
        self._killed = False
        self._rejected = ""
        self._libc = ctypes.CDLL(None, use_errno=True)

    def run(self) -> int:
        """Start the worker, wait for it, and give the exit code to leave with."""
        # Blocked signals wait to be taken by sigtimedwait: no handler, so no race and nothing reentrant.
        # A blocked signal also reaches process 1, which otherwise never sees a signal without a handler.
        inherited = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._start(inherited)
        _log("started", worker=self._worker, lease_seconds=self._granted, grace_seconds=self._grace)
        try:
            return self._watch()
        finally:
            self._signal_all(signal.SIGKILL)  # whatever the worker started goes with it
            self._reap()
            signal.pthread_sigmask(signal.SIG_SETMASK, inherited)

    def _start(self, mask: set[signal.Signals] | set[int]) -> None:
        parent = os.getpid()
        self._worker = os.fork()
        if self._worker == 0:
            self._become_worker(parent, mask)

    def _become_worker(self, parent: int, mask: set[signal.Signals] | set[int]) -> NoReturn:
        try:
            os.setpgid(0, 0)
            # A worker without a guard has no lease, so it dies with the guard, by a signal it cannot ignore.
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(protocol.EXIT_ERROR)  # the guard was gone before the line above
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.execv(self._command[0], self._command)  # noqa: S606 - no shell is wanted
        except BaseException as error:  # noqa: BLE001 - a copy of the guard must not run on
            _log("the worker did not start", error=str(error))
        os._exit(protocol.EXIT_ERROR)

    def _watch(self) -> int:
        while True:
            now = time.monotonic()
            if self._kill_at is None:
                self._take_grant()
                if now >= self._started + self._granted:
                    self._lease_ended = True
                    self._stop(f"the lease of {self._granted} s is used up")
            elif now >= self._kill_at + _STUCK:
                protocol.say_why("the worker could not be killed")
                return protocol.EXIT_ERROR
            elif now >= self._kill_at and not self._killed:
                self._killed = True
                _log("killing the worker", grace_seconds=self._grace)
                self._signal_all(signal.SIGKILL)
            taken = signal.sigtimedwait(_SIGNALS, self._patience())
            # If the process stood still past its patience, Python reports a signal 0.
            if taken is not None and taken.si_signo in _ENDING and self._kill_at is None:
                self._stop(signal.Signals(taken.si_signo).name)
            status = self._reap()
            if status is not None:
                return self._exit_code(status)

    def _patience(self) -> float:
        """Return the seconds to the next action, at most one poll."""
        due = self._started + self._granted if self._kill_at is None else self._kill_at
        return min(_POLL, max(0.0, due - time.monotonic())) or 0.05

    def _take_grant(self) -> None:
        try:
            granted = protocol.read_grant(self._grants)
        except ValueError as error:
            if str(error) != self._rejected:  # once, not each second
                self._rejected = str(error)
                _log("grant ignored", reason=self._rejected)
            return
        if granted is not None and (granted := max(self._lease, granted)) != self._granted:
            self._granted = granted
            _log("granted", lease_seconds=granted)

    def _stop(self, reason: str) -> None:
        _log("stopping the worker", reason=reason)
        self._kill_at = time.monotonic() + self._grace
        try:
            os.kill(self._worker, signal.SIGTERM)
        except ProcessLookupError:
            return

    def _signal_all(self, number: signal.Signals) -> None:
        for send in (os.killpg, os.kill):  # the group may not exist yet, or hold children only
            try:
                send(self._worker, number)
            except (ProcessLookupError, PermissionError):
                continue

    def _reap(self) -> int | None:
        """Collect every child that has ended; the worker's wait status if it is among them."""
        found = None
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return found
            if pid == 0:
                return found
            if pid == self._worker:
                found = status

    def _exit_code(self, status: int) -> int:
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGKILL and self._killed:
            protocol.say_why(f"the worker did not stop within {self._grace} s of SIGTERM and was killed")
            code = protocol.EXIT_ERROR
        elif code == -signal.SIGKILL:
            protocol.say_why("the worker was killed (SIGKILL), most likely for memory")
            code = protocol.EXIT_KILLED
        elif code == -signal.SIGTERM:
            code = protocol.EXIT_SUSPENDED  # it came before the worker could listen: nothing to save yet
        elif code < 0:
            protocol.say_why(f"the worker died of {signal.Signals(-code).name}")
            code = _SIGNALLED - code
        if self._lease_ended and code == protocol.EXIT_SUSPENDED:
            protocol.say_why(
                f"the lease of {self._granted} s is used up; {protocol.last_reason()}".rstrip("; ")
            )
        _log("ended", exit=code, seconds=round(time.monotonic() - self._started, 3))
        return code


def main() -> int:
    """Guard one attempt of this trainer."""
    lease, grace = terms(os.environ.get(protocol.ASSIGNMENT_ENV))
    worker = [sys.executable, "-m", "comptroller_trainer.worker", "--started", repr(_STARTED)]
    grants = protocol.grant_file()
    return Guard(worker, lease, grace, grants, _STARTED - waited(grants, time.time())).run()
