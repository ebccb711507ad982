"""Processes that outlive this one, identified by their id and start time.

After a crash or a reboot, an id may belong to another process. An id with the start time (in clock ticks
since boot) and the boot's own id belongs to one process only.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from console import ClusterError

BOOT = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return the id of this boot of the machine."""
    return BOOT.read_text().strip()


def start_time(pid: int) -> str | None:
    """Return the start of process `pid` in clock ticks since boot, or None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else fields[19]


@dataclass(frozen=True)
class Daemon:
    """One long-running process of the cluster."""

    name: str
    files: Path
    log: Path

    @property
    def record(self) -> Path:
        return self.files / f"{self.name}.json"

    def pid(self) -> int | None:
        """Return the process id if the process runs, else None."""
        try:
            record = json.loads(self.record.read_text())
        except (FileNotFoundError, ValueError):
            return None
        if record["boot"] != boot_id() or start_time(record["pid"]) != record["start"]:
            return None
        return int(record["pid"])

    def outdated(self, command: Sequence[str]) -> bool:
        """Return whether the process runs, but as another program or with other arguments."""
        pid = self.pid()
        if pid is None:
            return False
        try:
            if Path(f"/proc/{pid}/exe").resolve() != Path(command[0]).resolve():
                return True
            return bool(json.loads(self.record.read_text())["command"] != [*command])
        except OSError:
            return True

    def begin(self, command: Sequence[str], cgroups: Sequence[Path], environment: dict[str, str]) -> None:
        """Start the process in its own session, below the cluster's control groups."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.files.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            # The shell joins the groups before it becomes the program, so no child can escape.
            joins = "".join(f'echo $$ > "{group}/cgroup.procs"; ' for group in cgroups)
            process = subprocess.Popen(
                ["/bin/sh", "-c", f'{joins}exec "$@"', "sh", *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd="/",
                env=environment,
            )
        start = start_time(process.pid)
        record = {"pid": process.pid, "start": start, "boot": boot_id(), "command": list(command)}
        partial = self.record.with_suffix(".partial")
        partial.write_text(json.dumps(record))
        partial.replace(self.record)

    def end(self, grace: float = 4.0) -> bool:
        """Send SIGTERM, and SIGKILL if needed; return False if the process was not running."""
        pid = self.pid()
        if pid is None:
            self.record.unlink(missing_ok=True)
            return False
        try:
            # A process's file descriptor cannot come to refer to another process.
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            if self.pid() == pid:
                for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
                    signal.pidfd_send_signal(handle, number)
                    if self._gone(pid, seconds):
                        break
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)
        self.record.unlink(missing_ok=True)
        return True

    def _gone(self, pid: int, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.pid() == pid:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def tail(self, lines: int = 15) -> str:
        """Return the end of the log."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 20_000))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def failure(self, what: str) -> ClusterError:
        """Return an error that shows the end of the log."""
        return ClusterError(f"{self.name} {what}. The end of {self.log}:\n{self.tail()}")
