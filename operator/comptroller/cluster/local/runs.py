"""Attempts as directories: the request, the placement, and the end.

Each is named after its attempt and appears whole, so that a name is taken once:

    run.json          the request
    control.json      for the supervisor: the deadline, which only grows, and whether to stop
    lease-seconds     what the guard in the trainer reads
    placement.json    the share of the machine it got, its port, and since when
    lock              held by the supervisor and the trainer; free: nothing of it runs
    exit.json         how it ended
    released          the books are closed on it
    log, termination-log
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from comptroller.cluster.local import supervisor
from comptroller.cluster.local.machine import Share
from comptroller.ledger.names import AttemptKey
from comptroller_api.contract import Assignment
from comptroller_api.study import Resources
from comptroller_api.trial import End

LOG, TERMINATION_LOG, GRANT = "log", "termination-log", "lease-seconds"
_MESSAGE = 4096
"""Bytes of a termination log that are read, as the kubelet does."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunRequest(_Record):
    """The request, which never changes."""

    study: str
    trial: int
    attempt: int
    created: int
    """Unix seconds; the deadline counts from here, as a Job's does."""
    assignment: Assignment | None
    """`None`: the name is only taken, nothing runs under it."""
    resources: Resources = Resources()


class StopRequest(_Record):
    """A wish that it ends."""

    end: End
    reason: str


class Control(_Record):
    """The settings that may change while it runs."""

    deadline: int
    grace: int
    stop: StopRequest | None = None


class Placement(_Record):
    """The share of the machine on which it runs, and since when."""

    scheduled: int
    port: int
    cores: tuple[int, ...]
    gpus: tuple[int, ...]


class Ended(_Record):
    """The end of the run."""

    code: int | None
    ended: int
    deadline: bool = False
    message: str = ""


R = TypeVar("R", bound=_Record)


class RunDirectory:
    """The directory of one attempt."""

    def __init__(self, path: Path) -> None:
        """The attempt at `path`, which exists."""
        self.path = path
        self.name = path.name
        self.request = RunRequest.model_validate_json((path / "run.json").read_text())
        self._placement: Placement | None = None
        self._ended: Ended | None = None

    @classmethod
    def create(cls, path: Path, request: RunRequest, control: Control) -> None:
        """Take a name; do nothing where it is taken."""
        draft = path.with_name(f".{path.name}")
        shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed right here
        draft.mkdir(parents=True)
        supervisor.write_json(draft / "run.json", request.model_dump(mode="json"))
        supervisor.write_json(draft / "control.json", control.model_dump(mode="json"))
        (draft / GRANT).write_text(str(control.deadline))
        if request.assignment is None:
            ended = Ended(code=None, ended=request.created)
            supervisor.write_json(draft / "exit.json", ended.model_dump(mode="json"))
        try:
            draft.rename(path)
        except OSError:  # a directory that is not empty cannot be replaced
            shutil.rmtree(draft)

    @property
    def key(self) -> AttemptKey:
        """The attempt."""
        return AttemptKey(self.request.study, self.request.trial, self.request.attempt)

    @property
    def share(self) -> Share | None:
        """Return its share of the machine, if it was ever placed."""
        placement = self.placement
        return Share(self.request.resources, placement.cores, placement.gpus) if placement else None

    # -- what is known -------------------------------------------------------------------------------------

    @property
    def control(self) -> Control:
        """The deadline and the wish to stop."""
        return Control.model_validate_json((self.path / "control.json").read_text())

    @property
    def placement(self) -> Placement | None:
        """Return its placement, if it was ever placed."""
        self._placement = self._placement or self._read("placement.json", Placement)
        return self._placement

    @property
    def ended(self) -> Ended | None:
        """Return its end, once it has certainly ended."""
        self._ended = self._ended or self._read("exit.json", Ended)
        return self._ended

    @property
    def granted(self) -> int:
        """Return the seconds reported to the guard."""
        return int((self.path / GRANT).read_text())

    @property
    def released(self) -> bool:
        """The books are closed on it."""
        return (self.path / "released").exists()

    @property
    def message(self) -> str:
        """Return the last message of the trainer, or else of the supervisor."""
        message = self._ended.message if self._ended else ""
        with contextlib.suppress(FileNotFoundError), (self.path / TERMINATION_LOG).open("rb") as file:
            message = file.read(_MESSAGE).decode(errors="replace").strip() or message
        return message

    def vanished(self) -> bool:
        """Return whether it was placed, and neither runs nor has an end: its supervisor was killed."""
        if self.placement is None or self.ended is not None:
            return False
        with self._try_lock() as free:
            # The supervisor writes its record before it lets go of the lock.
            return free is not None and self.ended is None

    # -- what is changed -----------------------------------------------------------------------------------

    def set_control(self, control: Control) -> None:
        """Tell the supervisor."""
        supervisor.write_json(self.path / "control.json", control.model_dump(mode="json"))

    def grant(self, seconds: int) -> None:
        """Report the seconds to the guard, unless they are less than before."""
        if seconds > self.granted:
            draft = self.path / f".{GRANT}"
            draft.write_text(str(seconds))
            draft.replace(self.path / GRANT)

    def end(self, ended: Ended) -> None:
        """Record the end of what has no supervisor to do so."""
        supervisor.write_json(self.path / "exit.json", ended.model_dump(mode="json"))

    def release(self) -> None:
        """The books are closed on it."""
        (self.path / "released").touch()

    def start(
        self, placement: Placement, counted: int, command: list[str], environment: Mapping[str, str]
    ) -> None:
        """Start a supervisor and, under it, the command.

        Args:
            placement: where.
            counted: seconds of the deadline that are over.
            command: the trainer.
            environment: of the trainer, whole.
        """
        with self._try_lock() as lock:
            if lock is None or self.placement is not None:
                return  # it runs, or it did
            supervisor.write_json(self.path / "placement.json", placement.model_dump(mode="json"))
            cores = ",".join(map(str, placement.cores))
            subprocess.run(  # noqa: S603  (our own program, and the user's own command)
                [
                    *(sys.executable, "-I", "-S", supervisor.__file__),
                    *(str(self.path), str(lock), str(counted), cores),
                    *command,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us alone
                pass_fds=(lock,),
                env=dict(environment),
                check=True,
            )

    @contextlib.contextmanager
    def _try_lock(self) -> Iterator[int | None]:
        """Yield the lock's descriptor, or `None` if it is held elsewhere; a child inherits the hold."""
        lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            yield None
            return
        try:
            yield lock
        finally:
            os.close(lock)

    def _read(self, name: str, kind: type[R]) -> R | None:
        try:
            return kind.model_validate_json((self.path / name).read_text())
        except FileNotFoundError:
            return None
