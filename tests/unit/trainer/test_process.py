"""The trainer as it runs in a container: guard, worker, heartbeat, signals, report."""

import hashlib
import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from comptroller_api.contract import Assignment, Heartbeat, Report, report_digest, without_digest
from comptroller_trainer import worker
from comptroller_trainer.errors import NoGainError, ObjectStoreError
from comptroller_trainer.meter import meter
from comptroller_trainer.runtime import heartbeat, protocol
from comptroller_trainer.runtime.progress import AttemptProgress
from comptroller_trainer.runtime.stop import StopSignal
from comptroller_trainer.store import open_store
from support.awaiting import eventually

Environment = Callable[..., dict[str, str]]
TRAINER = [sys.executable, "-m", "comptroller_trainer"]


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        body: bytes = answer.read()
        return body.decode()


def beat(port: int) -> Heartbeat:
    return Heartbeat.model_validate_json(get(port, "/heartbeat"))


def test_sigterm_gives_a_checkpoint_and_75_and_the_next_attempt_ends_as_if_nothing_had_been(
    as_env: Environment, attempt: Callable[..., Report], weights: Callable[..., Any], tmp_path: Path
) -> None:
    long = {"epochs": 40, "totalEpochs": 40}
    process = subprocess.Popen(TRAINER, env=as_env(**long))
    try:
        port = int(eventually(lambda: (tmp_path / "port").exists() and (tmp_path / "port").read_text()))
        assert beat(port).name == "study-3-0"
        running = eventually(lambda: (b := beat(port)).step > 20 and b)
        assert running.phase == "fit"
        assert running.metrics["accuracy"] > 0
        assert running.utilization.source == "process"
        assert running.lease_seconds == 300
        assert 'comptroller_trainer_metric{metric="accuracy"}' in get(port, "/metrics")
        process.terminate()
        assert process.wait(180) == protocol.EXIT_SUSPENDED
    finally:
        process.kill()
        process.wait()
    assert list((tmp_path / "artifacts/checkpoints").glob("*.json"))
    assert not (tmp_path / "artifacts/attempts/0/report.json").exists()
    assert "SIGTERM" in (tmp_path / "termination-log").read_text()

    second = subprocess.run(TRAINER, env=as_env(attempt=1, name="study-3-1", **long), check=False)
    assert second.returncode == 0
    report = Report.model_validate_json((tmp_path / "artifacts/attempts/1/report.json").read_bytes())
    whole = attempt(artifacts=f"file://{tmp_path}/whole", **long)
    ours, theirs = weights(report), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_report_is_written_once_and_a_repeat_ends_well(as_env: Environment, tmp_path: Path) -> None:
    # The worker alone, to look at what it had imported in the end.
    code = (
        "import sys; from comptroller_trainer.worker import main; code = main([]);"
        "slow = {'torch', 'torch._dynamo', 'onnxscript', 'sklearn', 'torchvision', 'boto3'};"
        "print(*sorted(slow & set(sys.modules)));"
        "sys.exit(code)"
    )
    run = [sys.executable, "-c", code]
    first = subprocess.run(run, env=as_env(), check=False, capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    # torch.optim and the exporter would bring in the compiler, at 4 s a pod.
    assert first.stdout.split() == ["torch"]
    report = tmp_path / "artifacts/attempts/0/report.json"
    before = report.read_bytes()
    repeat = subprocess.run(run, env=as_env(), check=False, capture_output=True, text=True)
    assert (repeat.returncode, repeat.stdout.split()) == (0, [])
    assert report.read_bytes() == before
    other = subprocess.run(run, env=as_env(name="another"), check=False, capture_output=True, text=True)
    assert other.returncode == protocol.EXIT_ERROR
    assert "is of study-3-0, not of another" in (tmp_path / "termination-log").read_text()


def test_a_near_miss_leaves_its_numbers_before_it_exits_66(
    described: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(protocol.TERMINATION_LOG_ENV, str(tmp_path / "termination-log"))
    monkeypatch.setenv("COMPTROLLER_ASSIGNMENT", json.dumps(described(heartbeatPort=0)))
    monkeypatch.setattr(StopSignal, "listen", lambda _: None)
    miss = NoGainError("compress.must", "gain", "is not met")
    miss.report = Report(
        name="study-3-0", trial=3, attempt=0, rung=0, epochs=2, metrics={"accuracy": 0.5}, seconds=1,
        missed=str(miss),
    )  # fmt: skip

    def run(*_: object) -> None:
        raise miss

    monkeypatch.setattr(worker, "_run", run)
    assert worker.main([]) == protocol.EXIT_NO_GAIN
    left = (tmp_path / "artifacts/attempts/0/report.json").read_bytes()
    message = (tmp_path / "termination-log").read_text()
    assert Report.model_validate_json(left) == miss.report
    assert without_digest(message) == str(miss)
    assert report_digest(message) == hashlib.sha256(left).hexdigest()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"parameters": {"model.family": "none"}}, "model.family: 'none' is not known; known: "),
        ({"leaseSeconds": "soon"}, "leaseSeconds: 'soon'"),
    ],
)
def test_a_bad_assignment_gives_64_and_says_why(
    as_env: Environment, tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    environment = as_env()
    assignment = json.loads(environment["COMPTROLLER_ASSIGNMENT"]) | change
    environment["COMPTROLLER_ASSIGNMENT"] = json.dumps(assignment)
    done = subprocess.run(TRAINER, env=environment, check=False, capture_output=True)
    assert done.returncode == protocol.EXIT_BAD_ASSIGNMENT
    assert expected in (tmp_path / "termination-log").read_text()


def test_an_idle_process_is_seen_to_be_idle_soon(
    progress: AttemptProgress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "_WINDOW", 1.5)
    progress.meter.start()

    def seen_at_work() -> bool:
        end = time.process_time() + 0.2
        while time.process_time() < end:
            pass
        return progress.meter.utilization().percent > 10

    eventually(seen_at_work)
    # A mean since the beginning would still be over 5 percent at the end of this.
    eventually(lambda: progress.meter.utilization().percent < 4, 8)


@pytest.fixture
def termination_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination-log"
    monkeypatch.setenv(protocol.TERMINATION_LOG_ENV, str(path))
    return path


def test_the_first_report_stands_and_another_fails_loudly(
    described: Callable[..., dict[str, Any]], tmp_path: Path, termination_log: Path
) -> None:
    assignment = Assignment.model_validate(described())
    store = open_store(assignment.artifacts)
    first = Report(
        name=assignment.name, trial=3, attempt=0, rung=0, epochs=2, metrics={"accuracy": 0.5}, seconds=1
    )
    worker._publish(store, assignment, first)
    worker._publish(store, assignment, first)  # the answer to the first try was lost
    left = (tmp_path / "artifacts/attempts/0/report.json").read_bytes()
    assert report_digest(termination_log.read_text()) == hashlib.sha256(left).hexdigest()
    with pytest.raises(ObjectStoreError, match=r"report.json exists already, with other content"):
        worker._publish(store, assignment, first.model_copy(update={"metrics": {"accuracy": 0.9}}))
    assert (tmp_path / "artifacts/attempts/0/report.json").read_bytes() == left


@pytest.mark.parametrize("left", ["", "report sha256:" + "0" * 64])
def test_a_report_that_another_pod_wrote_first_does_not_end_the_attempt_well(
    as_env: Environment, described: Callable[..., dict[str, Any]], termination_log: Path, left: str
) -> None:
    assignment = Assignment.model_validate(described())
    forged = Report(
        name=assignment.name, trial=3, attempt=0, rung=0, epochs=2, metrics={"accuracy": 1.0}, seconds=1
    )
    open_store(assignment.artifacts).put("attempts/0/report.json", forged.model_dump_json().encode())
    termination_log.write_text(left)
    done = subprocess.run(TRAINER, env=as_env(), check=False, capture_output=True)
    assert done.returncode == protocol.EXIT_ERROR
    assert "another holder of the artifacts' key has" in termination_log.read_text()


def test_heartbeats_are_served_on_the_asked_port_and_nothing_else_is(progress: AttemptProgress) -> None:
    server = heartbeat.HeartbeatServer(progress, 0)
    server.start()
    try:
        assert beat(server.port).phase == "start"
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(server.port, "/etc/passwd")
        caught.value.close()
        assert caught.value.code == 404
    finally:
        server.close()


def test_the_heartbeat_shows_the_lease_as_it_is_granted_and_lowered(
    progress: AttemptProgress, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(protocol.GRANT_FILE_ENV, str(tmp_path / "grant"))
    seen = []
    for text in ("", "600", "nonsense", "500", "900"):
        (tmp_path / "grant").write_text(text)
        seen.append(progress.heartbeat().lease_seconds)
    assert seen == [300, 600, 300, 500, 900]  # what is no number grants no more than the first lease
