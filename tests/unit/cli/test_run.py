"""`comptroller run`: the controller, the ledger and real processes on this machine."""

import json
import signal
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from comptroller.cluster.local import ObjectFiles
from comptroller.ledger import audit
from comptroller.ledger.stores import open_store
from support.awaiting import eventually

from .conftest import TRAINER

Call = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[str]"]


def ledger(directory: Path) -> audit.Verdict:
    return audit.verify(open_store(f"file://{directory}/ledger"), "default")


def starts(directory: Path) -> dict[str, int]:
    """Return the number of starts of each attempt's trainer."""
    return {p.parent.name: p.read_text().count("cores") for p in directory.glob("runs/default/*/log")}


def outcomes(directory: Path) -> dict[int, str | None]:
    objects = ObjectFiles(directory / "objects")
    study = objects.study("default", "naps")
    assert study is not None
    return {
        trial.spec.number: trial.status.outcome if trial.status else None
        for trial in objects.trials("default", study.metadata.uid)
    }


def test_a_whole_study_runs_here(call: Call, naps: Call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call("run", naps(), "--dir", out, "--trainer", TRAINER, "-o", "json")
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert found["study"]["status"]["progress"] == "6/6"
    assert {t["status"]["outcome"] for t in found["trials"]} == {"Succeeded", "Pruned"}
    assert found["study"]["status"]["front"]
    assert found["ledger"].startswith("verified")
    assert ledger(out).passed
    assert set(starts(out).values()) == {1}
    again = call("run", naps(), "--dir", out, "--trainer", TRAINER)
    assert again.exit_code == 0
    assert "Pareto front" in again.output
    assert set(starts(out).values()) == {1}


def test_what_the_installed_trainer_would_refuse_is_refused(call: Call, naps: Call, tmp_path: Path) -> None:
    result = call("run", naps(), "--dir", tmp_path / "out")
    assert result.exit_code == 1
    assert 'spec.baseline[recipe.nap]: Invalid value: "recipe.nap": is not a parameter' in result.output
    assert not starts(tmp_path / "out")


def test_the_ceiling_stops_trials_while_they_run(call: Call, naps: Call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    slow = {"recipe.nap": "4"}
    ceiling = {"spend": {"amount": "3.40", "currency": "USD"}}
    result = call("run", naps(baseline=slow, ceilings=ceiling), "--dir", out, "--trainer", TRAINER)
    assert result.exit_code == 0, result.output
    assert "CeilingReached" in result.output
    assert "BudgetStopped" in outcomes(out).values()
    verdict = ledger(out)
    assert verdict.passed
    assert all(account.spent <= account.ceiling for account in verdict.books.accounts.values())


def _more_starts(directory: Path, than: int) -> bool:
    return len(starts(directory)) > than


def test_a_killed_run_resumes_where_it_was(naps: Call, process: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = naps(baseline={"recipe.nap": "0.8"})
    for _ in range(3):
        before = len(starts(out))
        first = process("run", manifest, "--dir", out, "--trainer", TRAINER)
        eventually(partial(_more_starts, out, before))
        first.kill()
        first.wait()
    assert process("run", manifest, "--dir", out, "--trainer", TRAINER).wait(300) == 0
    assert len(outcomes(out)) == 6
    assert None not in outcomes(out).values()
    assert set(starts(out).values()) == {1}
    assert ledger(out).passed


def test_ctrl_c_suspends_with_checkpoints_and_the_same_command_resumes(
    naps: Call, process: Start, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    manifest = naps(baseline={"recipe.nap": "4"}, search={"trials": 2})
    run = process("run", manifest, "--dir", out, "--trainer", TRAINER)
    eventually(lambda: sum(starts(out).values()) > 1)
    run.send_signal(signal.SIGINT)
    assert run.wait(180) == 1
    assert "suspending" in (tmp_path / "out.txt").read_text()
    exits = [json.loads(path.read_text())["code"] for path in out.glob("runs/default/*/exit.json")]
    assert 75 in exits
    assert not ledger(out).books.open
    assert process("run", manifest, "--dir", out, "--trainer", TRAINER).wait(300) == 0
    assert set(outcomes(out).values()) == {"Succeeded"}
    assert ledger(out).passed


def test_without_a_price_nothing_starts(call: Call, naps: Call, tmp_path: Path) -> None:
    result = call("run", naps(prices=False), "--dir", tmp_path / "out", "--trainer", TRAINER)
    assert result.exit_code == 1
    assert "no PriceList prices node class 'laptop' in USD" in result.output
    assert not starts(tmp_path / "out")


def test_prices_may_come_from_a_file_of_their_own(call: Call, naps: Call, tmp_path: Path) -> None:
    whole = naps(search={"trials": 1, "parallel": 1})
    prices = tmp_path / "prices.yaml"
    prices.write_text(whole.read_text().split("---\n")[1])
    study = naps(prices=False, search={"trials": 1, "parallel": 1})
    out = tmp_path / "out"
    assert call("run", study, "--dir", out, "--trainer", TRAINER).exit_code == 1
    result = call("run", study, "--dir", out, "--prices", prices, "--trainer", TRAINER)
    assert result.exit_code == 0, result.output


def test_a_failing_trainer_fails_the_study(call: Call, naps: Call, tmp_path: Path) -> None:
    manifest = naps(
        baseline={"recipe.mode": "error"}, search={"trials": 2, "failureLimit": 2}, runtime={"retries": 0}
    )
    result = call("run", manifest, "--dir", tmp_path / "out", "--trainer", TRAINER)
    assert result.exit_code == 1
    assert "FailureLimitReached" in result.output
    assert "mode error" in result.output


def test_a_fault_that_every_trial_shares_is_paid_for_once(call: Call, naps: Call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call("run", naps(baseline={"recipe.mode": "wrong"}), "--dir", out, "--trainer", TRAINER)
    assert result.exit_code == 1
    assert "NoTrialSucceeded" in result.output
    assert "mode wrong" in result.output
    assert list(outcomes(out).values()) == ["Failed"]
    assert sum(starts(out).values()) == 1
    assert call("status", "naps", "--dir", out).exit_code == 1
    assert call("watch", "naps", "--dir", out).exit_code == 1


def test_a_ceiling_under_one_lease_fails_the_study(call: Call, naps: Call, tmp_path: Path) -> None:
    ceiling = {"spend": {"amount": "0.10", "currency": "USD"}}
    result = call("run", naps(ceilings=ceiling), "--dir", tmp_path / "out", "--trainer", TRAINER)
    assert result.exit_code == 1
    assert "NoRoomForALease" in result.output
    assert not starts(tmp_path / "out")


def test_a_lost_report_is_not_a_failure_and_not_a_number(call: Call, naps: Call, tmp_path: Path) -> None:
    manifest = naps(baseline={"recipe.mode": "lost"}, search={"trials": 2})
    result = call("run", manifest, "--dir", tmp_path / "out", "--trainer", TRAINER)
    assert set(outcomes(tmp_path / "out").values()) == {"MetricsLost"}, result.output


def test_data_may_be_elsewhere(call: Call, naps: Call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call("run", naps(prices=False), "--dir", out, "--data", f"file://{tmp_path}", "--trainer", TRAINER)
    study = ObjectFiles(out / "objects").study("default", "naps")
    assert study is not None
    assert study.spec.data.uri == f"file://{tmp_path}"


def test_data_elsewhere_do_not_replace_a_mixture(call: Call, naps: Call, tmp_path: Path) -> None:
    sources = [{"name": "a", "uri": "file:///a"}, {"name": "b", "uri": "file:///b"}]
    result = call("run", naps(data={"sources": sources}), "--dir", tmp_path / "out", "--data", "file:///c")
    assert result.exit_code == 1
    assert "spec.data.sources has several" in result.output


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"search": {"parallel": 9}}, "parallel must not be more than trials"),
        ({"runtime": {"resources": {"cpu": "1000", "memory": "64Mi"}}}, "it asks for 1000 CPUs"),
        ({"runtime": {"resources": {"cpu": "1", "pods": 2}}}, "it asks for 2 pods, and there are none here"),
        ({"data": {"format": "CSV"}}, "spec.data.format"),
    ],
)
def test_a_bad_manifest_is_refused_before_anything_starts(
    call: Call, naps: Call, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    result = call("run", naps(**change), "--dir", tmp_path / "out", "--trainer", TRAINER)
    assert result.exit_code == 1
    assert says in result.output
    assert not (tmp_path / "out" / "objects").exists()


def test_what_may_not_change_is_refused(call: Call, naps: Call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    small = {"trials": 1, "parallel": 1}
    assert call("run", naps(search=small), "--dir", out, "--trainer", TRAINER).exit_code == 0
    manifest = naps(
        search=small,
        space={"parameters": [{"name": "model.depth", "type": "Integer", "min": "1", "max": "2"}]},
    )
    result = call("run", manifest, "--dir", out, "--trainer", TRAINER)
    assert result.exit_code == 1
    assert "spec.space is immutable" in result.output


def test_files_that_are_no_manifests_are_refused(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("a: [")
    assert call("run", path, "--dir", tmp_path / "out").exit_code == 1
    path.write_text("")
    result = call("run", path, "--dir", tmp_path / "out")
    assert result.exit_code == 1
    assert "no Study" in result.output


def test_one_run_at_a_time_uses_a_directory(call: Call, naps: Call, process: Start, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = naps(baseline={"recipe.nap": "1"}, search={"trials": 1, "parallel": 1})
    first = process("run", manifest, "--dir", out, "--trainer", TRAINER)
    eventually(lambda: starts(out))
    result = call("run", manifest, "--dir", out, "--trainer", TRAINER)
    assert result.exit_code == 1
    assert "another `comptroller run`" in result.output
    assert first.wait(180) == 0


def test_a_directory_that_cannot_stand_in_a_uri_is_refused(call: Call, naps: Call, tmp_path: Path) -> None:
    result = call("run", naps(), "--dir", tmp_path / "my study")
    assert result.exit_code == 1
    assert "may be in its path" in result.output


def test_misuse_is_exit_2(call: Call, tmp_path: Path) -> None:
    assert call("run").exit_code == 2
    assert call("run", tmp_path / "none.yaml", "--dir", tmp_path).exit_code == 2
    assert call("nonsense").exit_code == 2
