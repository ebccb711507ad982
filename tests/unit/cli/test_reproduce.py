"""`comptroller reproduce` with a real trial, with its files unchanged and changed."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from comptroller.cli import again
from comptroller.cli.reproduced import Left, compare, differing, digest
from comptroller.cluster.local import TRAINER, ObjectFiles
from comptroller_api.contract import ASSIGNMENT_ENV, Assignment, Report
from comptroller_api.meta import Metadata
from comptroller_api.metrics import is_timed
from comptroller_api.trial import Proposal, RungResult, Trial, TrialSpec, TrialStatus
from support.awaiting import eventually

Call = Callable[..., Result]
Process = Callable[..., "subprocess.Popen[str]"]
PARAMETERS = {"model.family": "linear", "data.selector": "rs2", "data.keep": "0.3"}
NAME = "digits-0000"
RUNGS = (1, 2)


def report(**changes: Any) -> Report:
    given = {
        "name": "a", "trial": 0, "attempt": 0, "rung": 0, "epochs": 2, "seconds": 3.5,
        "metrics": {"accuracy": 0.1 + 0.2, "latency_p50_ms": 1.0, "parent_latency_p95_ms": 2.0},
        "environment": {"torch": "2", "threads": "1"},
    }  # fmt: skip
    return Report.model_validate(given | changes)


# -- the comparison --------------------------------------------------------------------------------------


def test_a_difference_in_the_last_digit_is_one() -> None:
    now = report(metrics=report().metrics | {"accuracy": 0.3})
    assert differing(compare(Left(report(), {}), Left(now, {}))) == ["accuracy"]
    assert differing(compare(Left(report(), {}), Left(report(), {}))) == []


def test_timed_metrics_and_the_environment_are_shown_and_not_compared() -> None:
    slow = report().metrics | {"latency_p50_ms": 9.0, "parent_latency_p95_ms": 9.0}
    now = report(seconds=9.5, metrics=slow, environment={"torch": "3", "threads": "1", "image": "i"})
    lines = compare(Left(report(), {}), Left(now, {}))
    assert differing(lines) == []
    apart = [line.name for line in lines if not line.same]
    assert apart == ["latency_p50_ms", "parent_latency_p95_ms", "seconds", "image", "torch"]


@pytest.mark.parametrize("name", ["latency_p95_ms", "latency_trusted", "cold_start_ms", "energy_joules"])
def test_metrics_of_a_machine_are_timed_of_the_parent_too(name: str) -> None:
    assert is_timed(name)
    assert is_timed(f"parent_{name}")
    assert not is_timed(f"slice_{name}")


def test_what_only_one_of_them_has_is_a_difference() -> None:
    now = report(metrics=report().metrics | {"auc": 0.5}, epochs=1)
    then = Left(report(), {"model.safetensors": "0" * 64, "data.json": "1" * 64})
    lines = compare(then, Left(now, {"data.json": "1" * 64}))
    assert differing(lines) == ["epochs", "auc", "model.safetensors"]


def test_files_are_compared_by_what_they_say() -> None:
    def packed(save: Callable[..., None], **arrays: Any) -> bytes:
        file = io.BytesIO()
        save(file, **arrays)
        return file.getvalue()

    epochs = {"epoch_00000": np.arange(100)}
    loose, tight = packed(np.savez, **epochs), packed(np.savez_compressed, **epochs)
    assert loose != tight
    assert digest("selection.npz", loose) == digest("selection.npz", tight)
    same_bytes = np.arange(100).view(np.uint64), np.arange(100).reshape(10, 10)
    others: list[dict[str, Any]] = [{"epoch_00000": array} for array in same_bytes]
    for other in (epochs | {"taught": np.arange(1)}, *others):
        assert digest("selection.npz", packed(np.savez, **other)) != digest("selection.npz", loose)

    def manifest(uri: str, samples: int) -> bytes:
        return json.dumps({"sources": [{"uri": uri, "samples": samples}]}).encode()

    assert digest("data.json", manifest("s3://a", 1)) == digest("data.json", manifest("file:///b", 1))
    assert digest("data.json", manifest("s3://a", 1)) != digest("data.json", manifest("s3://a", 2))
    assert digest("data.json", b"null") != digest("data.json", manifest("s3://a", 1))


# -- the command -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the artifacts of a real trial that went through two rungs on one thread."""
    directory = tmp_path_factory.mktemp("original")
    for rung, epochs in enumerate(RUNGS):
        work = {
            "study": "digits", "namespace": "default", "trial": 0, "attempt": rung, "seed": 3,
            "name": f"digits-0-{rung}", "parameters": PARAMETERS, "rung": rung, "epochs": epochs,
            "totalEpochs": RUNGS[-1], "data": {"uri": "generated:digits", "format": "Bundled"},
            "artifacts": f"file://{directory}", "leaseSeconds": 600, "graceSeconds": 10, "heartbeatPort": 0,
        }  # fmt: skip
        again.run(Assignment.model_validate(work), {"threads": "1", "device": "cpu"}, TRAINER, directory)
    return directory


class Run:
    """Return the directory of a run with one trial, whose files can be changed."""

    def __init__(self, path: Path, original: Path) -> None:
        self.path, self.artifacts = path, path / "artifacts"
        shutil.copytree(original, self.artifacts)
        self.report = self.artifacts / "attempts" / "1" / "report.json"
        self.report.write_text(self.report.read_text().replace(str(original), str(self.artifacts)))
        objects = ObjectFiles(path / "objects")
        spec = TrialSpec(
            study="digits", study_uid="u", number=0, seed=3, parameters=PARAMETERS,
            proposal=Proposal(phase="Search", engine="Random"),
        )  # fmt: skip
        rung = RungResult(rung=1, epochs=2, metrics={}, report=f"file://{self.report}")
        trial = Trial(metadata=Metadata(name=NAME), spec=spec)
        objects.create_trial(trial)
        objects.record(trial, TrialStatus(state="Ended", outcome="Succeeded", rungs=[rung]))

    def edit(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the report."""
        content = json.loads(self.report.read_text())
        change(content)
        self.report.write_text(json.dumps(content))

    def replace(self, name: str, change: Callable[[bytes], bytes], *, reported: bool) -> None:
        """Change an artifact, and its SHA-256 in the report if `reported`."""
        path = self.artifacts / "rungs" / "1" / name
        path.write_bytes(change(path.read_bytes()))
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        if reported:
            self.edit(lambda r: [a.update(sha256=sha) for a in r["artifacts"] if a["name"] == name])


@pytest.fixture
def run(tmp_path: Path, original: Path) -> Run:
    return Run(tmp_path / "run", original)


def last_byte(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def test_a_trial_of_two_rungs_is_the_same_in_one_go(call: Call, run: Run, tmp_path: Path) -> None:
    result = call("reproduce", NAME, "--dir", run.path, "--keep", tmp_path / "new", "-o", "json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["same"] is True
    kinds = {line["name"]: line["kind"] for line in found["lines"]}
    assert kinds["accuracy"] == "metric"
    assert [n for n, kind in kinds.items() if kind == "artifact"] == [
        "model.safetensors", "model.onnx", "selection.npz", "data.json",
    ]  # fmt: skip
    assert kinds["torch"] == "environment"
    new = Report.model_validate_json((tmp_path / "new" / "attempts" / "0" / "report.json").read_text())
    assert (new.name, new.epochs) == (f"reproduce-{NAME}", 2)
    assert not (tmp_path / "new" / "rungs" / "0").exists()


def test_a_changed_number_and_a_changed_weight_are_reported(call: Call, run: Run) -> None:
    run.edit(lambda r: r["metrics"].update(loss=r["metrics"]["loss"] + 1e-12))
    run.edit(lambda r: r["environment"].update(torch="1.0"))
    run.replace("model.safetensors", last_byte, reported=True)
    result = call("reproduce", NAME, "--dir", run.path)
    assert result.exit_code == 1
    assert "2 of " in result.output
    assert "metrics and artifacts differ: loss, model.safetensors" in result.output
    assert "so does the environment: torch" in result.output


@pytest.mark.parametrize("name", ["model.safetensors", "selection.npz", "assignment.json"])
def test_files_that_changed_since_their_report_are_refused(call: Call, run: Run, name: str) -> None:
    run.replace(name, last_byte, reported=False)
    result = call("reproduce", NAME, "--dir", run.path, "--trainer", "false")
    assert result.exit_code == 1
    assert f"{name} has changed: its SHA-256 is " in result.output


def other_seed(content: bytes) -> bytes:
    return json.dumps(json.loads(content) | {"seed": 4}).encode()


def test_what_cannot_be_run_again_is_refused_with_why(call: Call, run: Run, tmp_path: Path) -> None:
    def refused(*options: object) -> str:
        result = call("reproduce", NAME, "--dir", run.path, *options)
        assert result.exit_code == 1, result.output
        return result.output

    assert "the trainer ended with exit 3: why" in refused("--trainer", "sh -c 'echo why >&2; exit 3'")
    assert "the trainer did not start" in refused("--trainer", tmp_path / "nothing")
    assert "it is not empty" in refused("--keep", run.path)
    assert "--data 'ftp://x'" in refused("--data", "ftp://x")
    run.edit(lambda r: r["environment"].update(processes="4"))
    assert "4 processes trained digits-0-1 together" in refused()
    run.replace("assignment.json", other_seed, reported=True)
    assert f"is not the assignment of trial {NAME}" in refused()
    run.edit(lambda r: r["artifacts"].clear())
    assert "names no assignment.json" in refused()
    run.report.write_text("{}")
    assert "is not a report" in refused()
    run.report.unlink()
    assert "is gone" in refused()


def test_the_trainer_is_given_the_same_work_as_an_attempt_of_its_own(
    call: Call, run: Run, tmp_path: Path
) -> None:
    run.edit(lambda r: r["environment"].update(threads="3"))
    printed = tmp_path / "printed"
    script = f"import json, os; json.dump(dict(os.environ), open({str(printed)!r}, 'w'))"
    new = tmp_path / "new"
    trainer = f'{sys.executable} -c "{script}"'
    result = call(
        "reproduce", NAME, "--dir", run.path, "--trainer", trainer, "--keep", new, "--data", "file:///copy"
    )
    assert result.exit_code == 1
    assert "report.json is gone" in result.output  # it wrote none
    environment = json.loads(printed.read_text())
    assert environment["COMPTROLLER_CPUS"] == environment["OMP_NUM_THREADS"] == "3"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    work = Assignment.model_validate_json(environment[ASSIGNMENT_ENV])
    assert (work.parameters, work.seed, work.epochs, work.total_epochs) == (PARAMETERS, 3, 2, 2)
    assert (work.attempt, work.name, work.artifacts) == (0, f"reproduce-{NAME}", f"file://{new}")
    assert (work.heartbeat_port, work.data.uri) == (0, "file:///copy")


def test_the_trainer_ends_with_the_command(process: Process, run: Run, tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    script = (
        "import pathlib, signal, sys, time;"
        f" signal.signal(signal.SIGTERM, lambda *_: sys.exit(pathlib.Path({str(ended)!r}).touch()));"
        f" pathlib.Path({str(begun)!r}).touch(); time.sleep(600)"
    )
    trainer = f'{sys.executable} -c "{script}"'
    started = process("reproduce", NAME, "--dir", run.path, "--trainer", trainer)
    eventually(begun.exists)
    started.terminate()
    assert started.wait(180) == 143
    assert ended.exists()
