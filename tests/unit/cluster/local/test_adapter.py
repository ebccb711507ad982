"""Attempts on this machine, with real processes; `Cluster`'s promises are in the suite of clusters."""

import os
import signal
import time
from pathlib import Path

import pytest

from comptroller.actions import CreateTrial, Extend, Grant, Release, Stop
from comptroller.cluster.local import Local, Machine, adapter
from comptroller.cluster.local.runs import TERMINATION_LOG, Control, Ended, RunDirectory, RunRequest
from comptroller.world import Run
from comptroller_api.contract import EXIT_SUSPENDED, LEASE_OVER

from .conftest import Bench

NAME = "naps-0000-0"


def ended(run: Run) -> bool:
    return run.ended is not None


def times(run: Run) -> tuple[int, int, int]:
    """Return started, scheduled and ended."""
    assert run.started is not None
    assert run.scheduled is not None
    assert run.ended is not None
    return run.started, run.scheduled, run.ended


async def test_an_attempt_runs_to_its_end_and_its_exit_is_seen(bench: Bench) -> None:
    await bench.local.act("default", bench.launch())
    run = await bench.until(NAME, ended)
    assert run.exit.code == 0
    started, scheduled, over = times(run)
    assert started <= scheduled < over
    assert (bench.directory / "artifacts/default").exists()


async def test_a_released_attempt_is_gone_and_its_name_stays_taken(bench: Bench) -> None:
    launch = bench.launch()
    await bench.local.act("default", launch)
    await bench.until(NAME, ended)
    await bench.local.act("default", Release(NAME))
    await bench.local.act("default", Release(NAME))
    assert await bench.look(NAME) is None
    for local in (bench.local, bench.reopened()):
        await local.act("default", launch)
        assert await bench.look(NAME) is None


async def test_an_attempt_ends_at_its_deadline_with_nobody_watching(bench: Bench) -> None:
    await bench.local.act("default", bench.launch(lease=5, recipe_nap="60"))
    _wait_for(bench.directory / "runs/default" / NAME / "exit.json")
    bench.reopened()
    run = await bench.see(NAME)
    assert run.exit.deadline
    started, _, over = times(run)
    assert over < started + 60  # its nap


def _wait_for(path: Path) -> None:
    """Block everything, even the event loop."""
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


async def test_a_trainer_that_ignores_sigterm_is_killed_after_its_grace(bench: Bench) -> None:
    await bench.local.act("default", bench.launch(recipe_nap="60", recipe_mode="deaf"))
    await bench.started(NAME)
    await bench.local.act("default", Stop(NAME, "Suspended", "enough"))
    run = await bench.until(NAME, ended)
    assert run.exit.code == 137
    assert (run.stop, run.stop_reason) == ("Suspended", "enough")


async def test_a_stopped_attempt_gets_sigterm_and_the_first_reason_stays(bench: Bench) -> None:
    await bench.local.act("default", bench.launch(recipe_nap="60"))
    await bench.started(NAME)
    await bench.local.act("default", Stop(NAME, "Suspended", "enough"))
    await bench.local.act("default", Stop(NAME, "Preempted", "the first word counts"))
    run = await bench.until(NAME, ended)
    assert (run.exit.code, run.stop) == (75, "Suspended")


async def test_a_raised_deadline_is_kept_and_a_lowered_one_is_ignored(bench: Bench) -> None:
    await bench.local.act("default", bench.launch(lease=8, recipe_nap="9"))
    await bench.local.act("default", Extend(NAME, 60))
    await bench.local.act("default", Extend(NAME, 1))
    run = await bench.until(NAME, ended)
    assert (run.exit.code, run.deadline) == (0, 60)


async def test_a_grant_only_grows(bench: Bench) -> None:
    await bench.local.act("default", bench.launch(lease=20))
    await bench.local.act("default", Grant(NAME, 40))
    await bench.local.act("default", Grant(NAME, 30))
    assert (await bench.see(NAME)).granted == 40
    await bench.until(NAME, ended)


async def test_what_does_not_fit_waits_and_its_lease_runs_out(bench: Bench) -> None:
    bench.machine = Machine(bench.machine.cores[:1], 2**30)
    bench.reopened()
    await bench.local.act("default", bench.launch(0, recipe_nap="60"))
    await bench.local.act("default", bench.launch(1, lease=2, recipe_nap="60"))
    waiting = await bench.see("naps-0001-0")
    assert (waiting.scheduled, waiting.ended) == (None, None)
    run = await bench.until("naps-0001-0", ended)
    assert (run.scheduled, run.exit.code, run.exit.deadline) == (None, None, True)
    await bench.local.act("default", Stop(NAME, "Suspended", "enough"))
    await bench.until(NAME, ended)


async def test_what_waits_starts_when_there_is_room_and_nobody_overtakes(bench: Bench) -> None:
    bench.machine = Machine(bench.machine.cores[:1], 2**30)
    bench.reopened()
    for number in range(3):
        await bench.local.act("default", bench.launch(number))
    third, second, first = [await bench.until(f"naps-{n:04d}-0", ended) for n in (2, 1, 0)]
    assert (first.exit.code, second.exit.code, third.exit.code) == (0, 0, 0)
    # Ends are rounded up to whole seconds.
    assert times(second)[1] >= times(first)[2] - 1
    assert times(third)[1] >= times(second)[2] - 1


async def test_a_stopped_attempt_that_waits_never_starts(bench: Bench) -> None:
    bench.machine = Machine(bench.machine.cores[:1], 2**20)
    bench.reopened()
    await bench.local.act("default", bench.launch())
    await bench.local.act("default", Stop(NAME, "Suspended", "enough"))
    run = await bench.see(NAME)
    assert run.ended is not None
    assert run.scheduled is None


async def test_each_attempt_has_its_own_cores(bench: Bench) -> None:
    if len(bench.machine.cores) < 2:
        pytest.fail("this test needs two cores")
    for number in range(2):
        await bench.local.act("default", bench.launch(number, recipe_nap="0.5"))
    names = ["naps-0000-0", "naps-0001-0"]
    for name in names:
        await bench.until(name, ended)
    assert {bench.log(name).split("\n")[0] for name in names} == {
        f"cores [{core}]" for core in bench.machine.cores
    }


async def test_a_killed_supervisor_takes_its_trainer_along_and_the_attempt_is_lost(bench: Bench) -> None:
    await bench.local.act("default", bench.launch(recipe_nap="60", recipe_mode="deaf"))
    await bench.started(NAME)
    _kill_supervisors(bench.directory)
    run = await bench.until(NAME, ended)
    assert run.exit.code is None
    assert not run.exit.deadline
    again = bench.reopened()
    assert (await bench.see(NAME)).ended == run.ended
    await again.close()


def _kill_supervisors(directory: Path) -> None:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        words = entry.read_bytes().split(b"\0")
        if any(w.endswith(b"supervisor.py") for w in words) and any(
            w.startswith(os.fsencode(directory)) for w in words
        ):
            os.kill(int(entry.parent.name), signal.SIGKILL)


async def test_a_crash_before_the_start_is_made_good(bench: Bench) -> None:
    launch = bench.launch()
    work = launch.assignment
    request = RunRequest(
        study=bench.study.metadata.uid,
        trial=0,
        attempt=0,
        created=int(time.time()),
        assignment=work,
        resources=launch.resources,
    )
    path = bench.directory / "runs/default" / NAME
    RunDirectory.create(path, request, Control(deadline=30, grace=1))
    bench.reopened()
    assert (await bench.until(NAME, ended)).exit.code == 0


async def test_a_lease_that_the_guard_ended_has_run_out(bench: Bench) -> None:
    launch = bench.launch()
    request = RunRequest(
        study="u", trial=0, attempt=0, created=int(time.time()), assignment=launch.assignment
    )
    path = bench.directory / "runs/default" / NAME
    RunDirectory.create(path, request, Control(deadline=30, grace=1))
    (path / TERMINATION_LOG).write_text(f"{LEASE_OVER}30 s is used up; stopped by SIGTERM")
    RunDirectory(path).end(Ended(code=EXIT_SUSPENDED, ended=int(time.time())))
    bench.reopened()
    assert (await bench.see(NAME)).exit.deadline


async def test_a_new_process_finds_what_runs(bench: Bench) -> None:
    await bench.local.act("default", bench.launch(recipe_nap="5"))
    before = await bench.see(NAME)
    bench.reopened()
    run = await bench.see(NAME)
    assert run.scheduled == before.scheduled
    assert run.ended is None
    assert (await bench.until(NAME, ended)).exit.code == 0


async def test_a_trainer_that_cannot_start_says_so(bench: Bench) -> None:
    bench.local = Local(bench.directory, command=["/no/such/trainer"])
    await bench.local.act("default", bench.launch())
    run = await bench.until(NAME, ended)
    assert run.exit.code == 127
    assert "/no/such/trainer" in run.exit.message


async def test_what_a_trainer_says_at_its_end_is_seen(bench: Bench) -> None:
    await bench.local.act("default", bench.launch(recipe_mode="wrong"))
    run = await bench.until(NAME, ended)
    assert (run.exit.code, run.exit.message) == (64, "mode wrong")


async def test_heartbeats_are_heard_and_idleness_is_counted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "_SCRAPE_EVERY", 0.1)
    idle = {"threshold": 5, "window": "60s"}
    spec = bench.study.spec
    runtime = type(spec.runtime).model_validate(spec.runtime.to_json() | {"idle": idle})
    bench.local.objects.apply(
        bench.study.model_copy(update={"spec": spec.model_copy(update={"runtime": runtime})})
    )
    await bench.local.act("default", bench.launch(0, recipe_nap="60", recipe_mode="idle"))
    await bench.local.act("default", bench.launch(1, recipe_nap="60"))
    lazy = await bench.until(NAME, lambda run: run.idle_seconds >= 1)
    busy = await bench.until("naps-0001-0", lambda run: run.heartbeat is not None)
    assert lazy.heartbeat is not None
    assert lazy.heartbeat.utilization.percent == 0
    assert busy.idle_seconds == 0
    for name in (NAME, "naps-0001-0"):
        await bench.local.act("default", Stop(name, "Suspended", "enough"))
        await bench.until(name, ended)
    await bench.local.close()


async def test_trials_belong_to_their_study_and_are_created_once(bench: Bench) -> None:
    trial = bench.launch().trial
    for _ in range(2):
        await bench.local.act("default", CreateTrial(bench.study, trial))
    snapshot = await bench.local.observe("default")
    (found,) = snapshot.trials[bench.study.metadata.uid]
    assert found.metadata.uid
    assert found.spec == trial.spec


async def test_artifacts_go_below_the_directory_whatever_the_study_says(bench: Bench) -> None:
    (study,) = (await bench.local.observe("default")).studies
    assert study.spec.artifacts.uri == f"file://{bench.directory}/artifacts"
    stored = bench.local.objects.study("default", "naps")
    assert stored is not None
    assert stored.spec.artifacts.uri == "s3://artifacts/studies"


async def test_an_unknown_action_is_an_error(bench: Bench) -> None:
    with pytest.raises(TypeError, match="not for the cluster"):
        await bench.local.act("default", object())  # type: ignore[arg-type]
