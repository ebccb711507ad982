"""The protocol of guard and worker, in the standard library alone.

The numbers and paths are those of `comptroller_api.contract`, which needs pydantic, a third of a second
that the guard does not have; a test holds the two together.
"""

import os
import re
from pathlib import Path

ASSIGNMENT_ENV = "COMPTROLLER_ASSIGNMENT"
GRANT_FILE = "/etc/comptroller/lease-seconds"
GRANT_FILE_ENV = "COMPTROLLER_GRANT_FILE"
TERMINATION_LOG = "/dev/termination-log"
TERMINATION_LOG_ENV = "COMPTROLLER_TERMINATION_LOG"

EXIT_FINISHED = 0
EXIT_ERROR = 1
EXIT_BAD_ASSIGNMENT = 64
EXIT_DIVERGED = 65
EXIT_NO_GAIN = 66
EXIT_UNAVAILABLE = 69
EXIT_OUT_OF_MEMORY = 71
EXIT_SUSPENDED = 75
EXIT_KILLED = 137
"""The worker got a SIGKILL that the guard did not send: the kernel's, for memory."""

_GRANT = re.compile(r"[1-9][0-9]{0,8}")
_TERMINATION_BYTES = 4000
"""Kubernetes keeps 4,096 bytes of a termination message."""


def grant_file() -> Path:
    """Return the path of the file with the grant."""
    return Path(os.environ.get(GRANT_FILE_ENV) or GRANT_FILE)


def read_grant(path: Path) -> int | None:
    """Return the seconds granted by the file; None if the file is absent or empty.

    Raises:
        ValueError: the file contains something else than a number of seconds.
    """
    try:
        # Without O_NONBLOCK a pipe in the file's place would stop the clock's reader.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        text = os.read(handle, 64).decode("ascii", "replace").strip()
    except OSError as error:
        raise ValueError(str(error)) from error
    finally:
        os.close(handle)
    if not text:
        return None
    if not _GRANT.fullmatch(text):
        raise ValueError(f"{text!r} is not a whole number of seconds")
    return int(text)


def termination_log() -> Path | None:
    """Return the path from which Kubernetes reads why a container ended; None outside a pod."""
    named = os.environ.get(TERMINATION_LOG_ENV)
    if named:
        return Path(named)
    path = Path(TERMINATION_LOG)
    return path if path.exists() else None  # never make a plain file in /dev


def say_why(message: str) -> None:
    """Write the reason for a person and for the operator's status; best effort."""
    path = termination_log()
    if path is None:
        return
    text = message.encode()[:_TERMINATION_BYTES].decode("utf-8", "ignore")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError:
        return


def last_reason() -> str:
    """Return the reason that was last written."""
    path = termination_log()
    try:
        return path.read_text(encoding="utf-8") if path else ""
    except (OSError, UnicodeDecodeError):
        return ""
