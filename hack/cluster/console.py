"""The output for users: numbered steps with their times, and errors that name the way out."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path


class ClusterError(Exception):
    """A problem that a user has to solve; the message describes it."""


@dataclass
class Console:
    """Numbered steps on standard error; standard output is for programs."""

    total: int = 0
    _number: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, text: str) -> None:
        """Print one line."""
        with self._lock:
            print(text, file=sys.stderr, flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Print the beginning of a step that takes time, and its duration at the end."""
        with self._lock:
            self._number += 1
            label = f"[{self._number}/{max(self.total, self._number)}]"
        step = Step(self, label)
        self.say(f"{label} {title} ...")
        try:
            yield step
        except BaseException:
            self.say(f"{label} {title}: failed after {step.seconds:.1f} s")
            raise
        self.say(f"{label} {title}: {step.result or 'done'} ({step.seconds:.1f} s)")


class Step:
    """A step that is in progress."""

    def __init__(self, console: Console, label: str) -> None:
        self._console = console
        self._label = label
        self._began = time.monotonic()
        self._spoke = self._began
        self.result = ""

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def note(self, text: str) -> None:
        """Print a line about this step."""
        self._console.say(f"{self._label}   {text}")

    def progress(self, text: str, every: float = 15.0) -> None:
        """Print a line about the progress of this step, at most one in `every` seconds."""
        now = time.monotonic()
        if now - self._spoke >= every:
            self._spoke = now
            self.note(f"{text} ({self.seconds:.0f} s)")


def run(
    command: Sequence[str | Path],
    *,
    log: Path | None = None,
    environment: dict[str, str] | None = None,
    directory: Path | None = None,
    stdin: str | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run a program to its end and return what it printed.

    Args:
        command: The program and its arguments.
        log: A file that gets a copy of the output.
        environment: The whole environment; by default this process's own.
        directory: The working directory.
        stdin: The program's standard input.
        on_line: Called with each line as it is printed.

    Raises:
        ClusterError: The program is not installed, or it failed; with the end of its output.
    """
    arguments = [str(part) for part in command]
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=environment,
            cwd=directory,
        )
    except FileNotFoundError:
        raise ClusterError(
            f"{arguments[0]} is not installed; `cluster up` installs what is missing"
        ) from None
    lines: list[str] = []
    with process:
        if stdin is not None and process.stdin is not None:
            process.stdin.write(stdin)
            process.stdin.close()
        for line in process.stdout or ():
            lines.append(line)
            if on_line is not None:
                on_line(line.rstrip())
    text = "".join(lines)
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(text)
    if process.returncode != 0:
        tail = "".join(lines[-25:]).rstrip()
        where = f"\nAll of it: {log}" if log is not None else ""
        raise ClusterError(f"`{' '.join(arguments[:6])}` exited {process.returncode}:\n{tail}{where}")
    return text


def wait_for(
    what: str,
    condition: Callable[[], bool],
    *,
    seconds: float,
    hint: str = "",
    every: float = 0.2,
) -> None:
    """Wait until `condition` holds.

    Raises:
        ClusterError: The condition did not hold within `seconds`; the message has `what` and the `hint`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {seconds:.0f} s. {hint}".rstrip())
        time.sleep(every)
