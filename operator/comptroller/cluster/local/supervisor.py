"""The parent of one local attempt: what the kubelet and the Job controller are to a pod.

It runs as a program of its own, with the standard library alone, so that it outlives `comptroller run`: it
ends the attempt at its deadline with nobody watching (P2) and leaves how it ended in `exit.json`. It holds a
lock for as long as it or the attempt lives, so that "has it certainly stopped?" has an answer that no reused
process id can spoil.

    supervisor.py DIRECTORY LOCK_FD SECONDS_ALREADY_COUNTED CORES COMMAND...
"""

import contextlib
import ctypes
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_TICK = 0.2
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NOT_FOUND = 127


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Replace `path` in one step, so that no reader sees half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value))
    draft.replace(path)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Supervisor:
    """Starts the command and stays until nothing of it is left."""

    def __init__(self, directory: Path, lock: int, counted: float) -> None:
        """Read the request; start nothing yet."""
        self._directory = directory
        self._lock = lock
        self._zero = time.monotonic() - counted
        self._control: dict[str, Any] = {}
        self._terminated = False
        signal.signal(signal.SIGTERM, self._on_sigterm)

    def _on_sigterm(self, *_: object) -> None:
        self._terminated = True

    def run(self, command: list[str]) -> None:
        """Run `command` to its end and record it."""
        with (self._directory / "log").open("ab") as log:
            try:
                child = subprocess.Popen(  # noqa: S603  (the user's own command)
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(self._lock,),
                    preexec_fn=_die_with_parent,  # noqa: PLW1509  (this program has one thread)
                )
            except OSError as error:
                self._record(_NOT_FOUND, deadline=False, message=f"cannot start {command[0]}: {error}")
                return
        deadline = self._watch(child)
        code = child.returncode
        self._sweep(child.pid)
        self._record(code if code >= 0 else 128 - code, deadline=deadline, message="")

    def _watch(self, child: "subprocess.Popen[bytes]") -> bool:
        """Wait for the end; return whether the deadline caused it."""
        since: float | None = None
        deadline = False
        while True:
            try:
                child.wait(timeout=_TICK)
            except subprocess.TimeoutExpired:
                pass
            else:
                return deadline
            self._read_control()
            now = time.monotonic()
            if since is None:
                late = now - self._zero >= self._control["deadline"]
                if late or self._terminated or self._control.get("stop") is not None:
                    since, deadline = now, late
                    child.terminate()
            elif now - since >= self._control["grace"]:
                os.killpg(child.pid, signal.SIGKILL)

    def _read_control(self) -> None:
        # It is replaced in one step; whatever else goes wrong, the last deadline known still holds.
        try:
            self._control = json.loads((self._directory / "control.json").read_text())
        except (OSError, ValueError):
            self._control = self._control or {"deadline": 0, "grace": 0}

    def _sweep(self, group: int) -> None:
        """Kill all that the command started, as when a container's first process ends."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
        me = os.getpid()
        children = Path(f"/proc/{me}/task/{me}/children")
        while children.exists() and (left := children.read_text().split()):
            for pid in left:
                with contextlib.suppress(ProcessLookupError, ChildProcessError):
                    os.kill(int(pid), signal.SIGKILL)
                    os.waitpid(int(pid), 0)

    def _record(self, code: int, *, deadline: bool, message: str) -> None:
        # Rounded up, as the start was rounded down: what is owed is never rounded away.
        ended = {"code": code, "ended": math.ceil(time.time()), "deadline": deadline, "message": message}
        write_json(self._directory / "exit.json", ended)


def main(arguments: list[str]) -> None:
    """Supervise one attempt, as nobody's child: our starter neither waits for us nor ends us."""
    if os.fork():
        os._exit(0)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    directory, lock, counted, cores, *command = arguments
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):  # the set of cores that we may use has changed
            os.sched_setaffinity(0, [int(core) for core in cores.split(",")])
    Supervisor(Path(directory), int(lock), float(counted)).run(command)


if __name__ == "__main__":
    main(sys.argv[1:])
