"""The guard, as a real process over small workers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comptroller_api import contract
from comptroller_trainer.runtime import guard, protocol
from support.awaiting import eventually

RUN = """
import sys
from pathlib import Path
from comptroller_trainer.runtime.guard import Guard
worker, lease, grace, grants = sys.argv[1:]
sys.exit(Guard([sys.executable, "-c", worker], int(lease), int(grace), Path(grants)).run())
"""
OBEDIENT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
print("ready", flush=True)
time.sleep(60)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True: time.sleep(60)
"""
PATIENCE = 60
"""Seconds; a busy machine starts a process late."""
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def run(worker: str, lease: int = 60, grace: int = 5, *, wait: bool = True) -> subprocess.Popen[str]:
        environment = dict(os.environ) | {"COMPTROLLER_TERMINATION_LOG": str(tmp_path / "why")}
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, worker, str(lease), str(grace), str(tmp_path / "grant")],
            stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        running.append(process)
        if wait:
            assert process.stdout is not None
            process.stdout.readline()
        return process

    yield run
    for process in running:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_work_ends_when_the_lease_is_used_up(start: Start, tmp_path: Path) -> None:
    began = time.monotonic()
    process = start(OBEDIENT, lease=3)
    assert process.wait(PATIENCE) == protocol.EXIT_SUSPENDED
    assert time.monotonic() - began >= 2.5
    assert "lease of 3 s is used up" in (tmp_path / "why").read_text()


def test_a_grown_grant_is_honoured_and_then_ends(start: Start, tmp_path: Path) -> None:
    began = time.monotonic()
    process = start(OBEDIENT, lease=4)
    (tmp_path / "grant").write_text("6")
    assert process.wait(PATIENCE) == protocol.EXIT_SUSPENDED
    assert time.monotonic() - began >= 5.5
    assert "lease of 6 s" in (tmp_path / "why").read_text()


@pytest.mark.parametrize("text", ["1", "", "soon", "-9", "1e9", "3.5", "9" * 20, "60 60"])
def test_a_grant_that_does_not_grow_changes_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / "grant").write_text(text)
    watched = guard.Guard(["true"], 2, 1, tmp_path / "grant")
    watched._take_grant()
    assert watched._granted == 2


def test_a_grant_that_somebody_raised_is_lowered_again(tmp_path: Path) -> None:
    grants = tmp_path / "grant"
    watched = guard.Guard(["true"], 2, 1, grants)
    for text, granted in (("21600", 21600), ("60", 60), ("1", 2)):
        grants.write_text(text)
        watched._take_grant()
        assert watched._granted == granted


def test_a_pipe_in_place_of_the_grant_does_not_stop_the_clock(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "grant")
    assert start(OBEDIENT, lease=3).wait(PATIENCE) == protocol.EXIT_SUSPENDED


def test_sigterm_reaches_the_worker_and_its_exit_code_is_passed_on(start: Start) -> None:
    process = start(OBEDIENT)
    process.terminate()
    assert process.wait(PATIENCE) == protocol.EXIT_SUSPENDED


@pytest.mark.parametrize("code", [0, 1, 64, 71])
def test_the_workers_exit_code_is_the_guards(start: Start, code: int) -> None:
    assert start(f"raise SystemExit({code})", wait=False).wait(PATIENCE) == code


def test_a_worker_that_ignores_sigterm_is_killed_after_the_grace(start: Start, tmp_path: Path) -> None:
    process = start(DEAF, lease=3, grace=1)
    (worker,) = children(process.pid)
    assert process.wait(PATIENCE) == protocol.EXIT_ERROR
    assert not alive(worker)
    assert "did not stop within 1 s" in (tmp_path / "why").read_text()


def test_a_stopped_worker_is_killed_too(start: Start) -> None:
    process = start(OBEDIENT, lease=3, grace=1)
    os.kill(children(process.pid)[0], signal.SIGSTOP)
    assert process.wait(PATIENCE) == protocol.EXIT_ERROR


def test_a_worker_that_the_kernel_kills_gives_137(start: Start) -> None:
    process = start(OBEDIENT)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    assert process.wait(PATIENCE) == protocol.EXIT_KILLED


def test_a_crash_names_its_signal(start: Start, tmp_path: Path) -> None:
    process = start(OBEDIENT)
    os.kill(children(process.pid)[0], signal.SIGSEGV)
    assert process.wait(PATIENCE) == 128 + signal.SIGSEGV
    assert "SIGSEGV" in (tmp_path / "why").read_text()


def test_a_worker_does_not_outlive_a_killed_guard(start: Start) -> None:
    process = start(DEAF)
    (worker,) = children(process.pid)
    process.kill()
    eventually(lambda: not alive(worker))


def test_a_guard_that_stood_still_goes_on(start: Start) -> None:
    process = start("import time; print('ready', flush=True); time.sleep(3)")
    process.send_signal(signal.SIGSTOP)
    time.sleep(1.2 * guard._POLL)  # that it passes is what is tried
    process.send_signal(signal.SIGCONT)
    assert process.wait(PATIENCE) == 0


def test_what_the_worker_started_ends_with_it(start: Start) -> None:
    process = start("import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True)", wait=False)
    assert process.stdout is not None
    left = int(process.stdout.readline())
    assert process.wait(PATIENCE) == 0
    assert not alive(left)


def test_orphans_are_reaped(start: Start) -> None:
    orphaning = (
        "import subprocess, time\n"
        "subprocess.run(['sh', '-c', 'sleep 0.1 &'])\nprint('ready', flush=True)\ntime.sleep(60)"
    )
    process = start(orphaning)
    eventually(lambda: len(children(process.pid)) == 1)


def test_the_guard_waits_for_nothing_but_the_standard_library() -> None:
    code = "import sys, comptroller_trainer.runtime.guard; print(*{m.partition('.')[0] for m in sys.modules})"
    found = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path = {sys.path!r}; {code}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(found.stdout.split()) <= sys.stdlib_module_names | {"comptroller_trainer", "__main__"}


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ('{"leaseSeconds": 30, "graceSeconds": 3}', (30, 3)),
        ('{"lease_seconds": 30, "grace_seconds": 3}', (30, 3)),
        ('{"leaseSeconds": true, "graceSeconds": 3}', guard._UNASSIGNED),
        ('{"leaseSeconds": "30", "graceSeconds": 3}', guard._UNASSIGNED),
        ('{"leaseSeconds": -1, "graceSeconds": 3}', guard._UNASSIGNED),
        ("[]", guard._UNASSIGNED),
        ("{", guard._UNASSIGNED),
        (None, guard._UNASSIGNED),
    ],
)
def test_an_assignment_that_grants_nothing_leaves_time_to_say_so(
    assignment: str | None, expected: tuple[int, int]
) -> None:
    assert guard.terms(assignment) == expected


def test_the_guards_numbers_are_the_contracts() -> None:
    assert protocol.ASSIGNMENT_ENV == contract.ASSIGNMENT_ENV
    assert protocol.GRANT_FILE == contract.GRANT_FILE
    assert protocol.EXIT_FINISHED == contract.EXIT_FINISHED
    assert protocol.EXIT_BAD_ASSIGNMENT == contract.EXIT_BAD_ASSIGNMENT
    assert protocol.EXIT_DIVERGED == contract.EXIT_DIVERGED
    assert protocol.EXIT_NO_GAIN == contract.EXIT_NO_GAIN
    assert protocol.EXIT_UNAVAILABLE == contract.EXIT_UNAVAILABLE
    assert protocol.EXIT_OUT_OF_MEMORY == contract.EXIT_OUT_OF_MEMORY
    assert protocol.EXIT_SUSPENDED == contract.EXIT_SUSPENDED


def test_what_the_image_took_to_come_is_part_of_the_lease(tmp_path):
    """As the kubelet lays it out: a link to a link to a directory that each change replaces."""
    (tmp_path / "..first").mkdir()
    (tmp_path / "..first" / "lease").write_text("60")
    (tmp_path / "..data").symlink_to("..first")
    link = tmp_path / "lease"
    link.symlink_to("..data/lease")
    os.utime(link, (1000.0, 1000.0), follow_symlinks=False)
    (tmp_path / "..second").mkdir()
    (tmp_path / "..second" / "lease").write_text("120")
    (tmp_path / "..next").symlink_to("..second")
    (tmp_path / "..next").rename(tmp_path / "..data")
    assert link.read_text() == "120"
    assert guard.waited(link, 1042.5) == 42.5
    assert guard.waited(link, 999.0) == 0.0


def test_without_a_link_nothing_was_waited_for(tmp_path):
    (tmp_path / "lease").write_text("60")
    assert guard.waited(tmp_path / "lease", 1e12) == 0.0
    assert guard.waited(tmp_path / "none", 1e12) == 0.0
