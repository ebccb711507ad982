"""The fault simulation itself: it repeats, it shrinks failures, and it fails if something is wrong."""

import json
import os
import secrets
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from comptroller.cli import app
from comptroller.simulation.choices import STARTS, WIDE_STARTS
from comptroller.simulation.draw import schedule
from comptroller.simulation.pool import quiet, run_seed
from comptroller.simulation.run import Run
from comptroller.simulation.shrink import minimal, shrink
from mutants.planted import MUTANTS
from mutants.run import hunt

HASHES = """
from comptroller.simulation.pool import quiet, run_seed
quiet()
print([run_seed(seed).digest for seed in range(3, 7)])
"""


@pytest.fixture(autouse=True)
def _quiet():
    quiet()


@pytest.fixture
def cli():
    return CliRunner()


def test_a_seed_is_the_same_run_whatever_python_hashes_by():
    digests = {
        subprocess.run(
            [sys.executable, "-c", HASHES],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "4242")
    }
    assert len(digests) == 1


def test_a_seed_is_the_same_run_whatever_was_run_before():
    alone = run_seed(11).digest
    run_seed(12)
    assert run_seed(11).digest == alone


def test_different_seeds_are_different_runs():
    assert len({run_seed(seed).digest for seed in range(10)}) == 10


@pytest.mark.parametrize("name", ["renew_before_reserve", "settle_what_still_runs", "second_budget_ignored"])
def test_the_oracle_finds_a_planted_mistake(name):
    assert hunt(name, 100).where.startswith("seed ")


def test_the_walk_finds_what_seeds_did_not_try():
    found = hunt("talked_out_of_its_lease", seeds=0, depth=1)
    assert (found.where, found.promise) == ("walk: talked out of its lease", "P2")


def test_there_are_enough_planted_mistakes_and_each_says_what_it_is():
    assert len(MUTANTS) >= 45
    for plant in MUTANTS.values():
        assert plant.__doc__
        with pytest.MonkeyPatch.context() as patch:
            plant(patch)  # the object that it replaces exists


def test_a_failing_schedule_shrinks_to_what_it_needs(monkeypatch):
    MUTANTS["second_budget_ignored"](monkeypatch)
    seed = next(seed for seed in range(100) if run_seed(seed).violations)
    whole = schedule(seed)
    kept, result = shrink(whole)
    assert result.violations[0].promise == Run(whole).execute().violations[0].promise
    assert result.trace
    for left_out in kept:
        fewer = [place for place in kept if place != left_out]
        found = Run(whole.only(fewer)).execute().violations
        assert not found or found[0].promise != result.violations[0].promise
    # Two budgets, a study under both, and a price; the other remaining steps made it spend.
    assert {type(whole.events[place]).__name__ for place in kept} >= {"CreateStudy", "SetBudget", "SetPrices"}


def test_what_does_not_fail_is_not_shrunk():
    with pytest.raises(ValueError, match="no violation"):
        shrink(schedule(0))


def test_delta_debugging_finds_a_pair_far_apart():
    assert minimal(range(40), lambda places: {3, 38} <= set(places)) == [3, 38]


def test_the_command_finds_nothing_wrong(cli):
    result = cli.invoke(app, ["simulate", "--seeds", "40", "--jobs", "2", "-o", "json"])
    assert result.exit_code == 0, result.output
    output = json.loads(result.output)
    assert (output["seeds"], output["failed"]) == (40, [])
    assert output["launches"] > 40


def test_new_seeds_find_nothing_wrong(capsys, record_property):
    count, start = 60, int(os.environ.get("COMPTROLLER_SIMULATION_START", secrets.randbelow(2**31)))
    record_property("start", start)
    with capsys.disabled():
        sys.stdout.write(f"\nfresh seeds from {start}\n")
    for seed in range(start, start + count):
        violations = run_seed(seed).violations
        assert not violations, f"comptroller simulate --seeds 1 --start {seed} (started at {start})"


def test_the_command_fails_and_its_replay_line_fails_the_same_way(cli, monkeypatch):
    MUTANTS["overhead_not_reserved"](monkeypatch)
    result = cli.invoke(app, ["simulate", "--seeds", "1", "--jobs", "1"])
    assert result.exit_code == 1
    assert "with a violation" in result.output
    replay = next(line for line in result.output.splitlines() if line.startswith("again: comptroller "))
    again = cli.invoke(app, replay.removeprefix("again: comptroller ").split())
    assert again.exit_code == 1
    # The first is the violation of all events, and the last that of the shrunk events.
    *_, violation = (line for line in result.output.splitlines() if line.startswith("seed 0: P1"))
    assert violation in again.output.splitlines()


def test_nothing_of_a_few_steps_breaks_a_promise(cli):
    result = cli.invoke(app, ["simulate", "--walk", "2", "--jobs", "2", "-o", "json"])
    assert result.exit_code == 0, result.output
    output = json.loads(result.output)
    assert (output["depth"], output["failed"]) == (2, [])
    assert output["states"] > 80


def test_nothing_of_one_step_breaks_a_promise_from_any_start(cli):
    result = cli.invoke(app, ["simulate", "--walk", "1", "--wide", "--jobs", "2", "-o", "json"])
    assert result.exit_code == 0, result.output
    output = json.loads(result.output)
    assert output["failed"] == []
    assert output["states"] > len(STARTS | WIDE_STARTS) * 50


def test_the_walk_finds_a_planted_mistake_and_prints_the_way_there(cli, monkeypatch):
    MUTANTS["talked_out_of_its_lease"](monkeypatch)
    result = cli.invoke(app, ["simulate", "--walk", "1", "--jobs", "1"])
    assert result.exit_code == 1
    assert "after: talked out of its lease" in result.output
    assert "after: unseen, talked out of its lease" in result.output
    assert "2 with a violation" in result.output


def test_histories_are_drawn_from_a_wide_walk(cli):
    result = cli.invoke(app, ["simulate", "--walk", "6", "--sample", "60", "--jobs", "2", "-o", "json"])
    assert result.exit_code == 0, result.output
    output = json.loads(result.output)
    assert (output["depth"], output["ends"], output["failed"]) == (6, 60, [])


def test_a_drawn_history_that_fails_is_shortened(cli, monkeypatch):
    MUTANTS["talked_out_of_its_lease"](monkeypatch)
    result = cli.invoke(app, ["simulate", "--walk", "6", "--sample", "200", "--jobs", "2", "-o", "json"])
    assert result.exit_code == 1
    paths = [one["path"] for one in json.loads(result.output)["failed"]]
    assert any(path[-1] == "talked out of its lease" and len(path) <= 2 for path in paths)


def test_a_walk_takes_no_seeds(cli):
    for options in (["--seeds", "9"], ["--seed", "0"], ["--start", "3"]):
        assert cli.invoke(app, ["simulate", "--walk", "1", *options]).exit_code == 2
    for options in (["--wide"], ["--sample", "3"]):
        assert cli.invoke(app, ["simulate", "--seeds", "1", *options]).exit_code == 2


def test_one_seed_prints_its_trace_and_takes_no_place_it_does_not_have(cli):
    result = cli.invoke(app, ["simulate", "--seed", "0", "--trace"])
    assert result.exit_code == 0
    assert "Launch s1-0000-1-0000-0" in result.output
    assert cli.invoke(app, ["simulate", "--seed", "0", "--only", "99"]).exit_code == 1
    assert cli.invoke(app, ["simulate", "--seed", "0", "--only", "x"]).exit_code == 2
    assert cli.invoke(app, ["simulate", "--trace"]).exit_code == 2
