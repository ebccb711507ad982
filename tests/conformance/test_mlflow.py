"""Rungs are logged to a real MLflow server in its own environment; one that is down changes nothing."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comptroller_api.contract import ASSIGNMENT_ENV, TRACKING_ENV, Report

from .conftest import await_port

pytest.importorskip("mlflow")  # the extra of the trainer
SERVER = "mlflow==3.17.2"
"""Not in the lock file, since it would hold back the trainer's dependencies."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a server with its own database."""
    root, uv = tmp_path_factory.mktemp("mlflow"), os.environ.get("UV") or shutil.which("uv")
    assert uv, "needs uv, as `make test-conformance` has it"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        uv, "tool", "run", "--quiet", "--from", SERVER, "mlflow", "server", "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1", "--backend-store-uri", f"sqlite:///{root}/runs.db",
        "--artifacts-destination", str(root / "artifacts"),
    ]  # fmt: skip
    own = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(command, env=own, stdout=log, stderr=log, start_new_session=True)
        try:
            await_port(port, process, 300)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, 15)
            process.wait(timeout=30)


def rung(directory: Path, number: int, tracking: str, exports: str = "mlflow") -> tuple[Report, str]:
    """Return the trainer's report of a rung and its log; the trainer is a separate process."""
    assignment = {
        "study": "digits", "namespace": "team", "trial": 4, "attempt": number, "name": f"digits-4-{number}",
        "seed": 1, "rung": number, "epochs": number + 1, "totalEpochs": 2,
        "parameters": {"model.family": "linear", "recipe.lr": "0.01", "recipe.exports": exports},
        "data": {"uri": "generated:digits", "format": "Bundled", "validation": "0.2"},
        "artifacts": directory.as_uri(), "leaseSeconds": 600, "graceSeconds": 20, "heartbeatPort": 0,
    }  # fmt: skip
    environment = os.environ | {
        ASSIGNMENT_ENV: json.dumps(assignment),
        TRACKING_ENV: tracking,
        "COMPTROLLER_TERMINATION_LOG": str(directory / "termination-log"),
        "COMPTROLLER_GRANT_FILE": str(directory / "grant"),
        "COMPTROLLER_HEARTBEAT_PORT_FILE": str(directory / "port"),
    }
    command = [sys.executable, "-m", "comptroller_trainer"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = Report.model_validate_json((directory / f"attempts/{number}/report.json").read_bytes())
    return report, done.stderr


def client(server: str) -> Any:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    from mlflow.tracking import MlflowClient  # noqa: PLC0415 - reads the variable set above

    return MlflowClient(server)


@pytest.mark.timeout(600)
def test_a_trial_is_one_run_that_its_later_rungs_continue(server: str, tmp_path: Path) -> None:
    reports = [rung(tmp_path, number, server)[0] for number in range(2)]
    mlflow_client = client(server)
    experiment = mlflow_client.get_experiment_by_name("team/digits")
    (run,) = mlflow_client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "digits-0004"
    assert run.info.status == "FINISHED"
    assert run.data.params["model.family"] == "linear"
    assert run.data.params["seed"] == "1"
    accuracies = mlflow_client.get_metric_history(run.info.run_id, "accuracy")
    assert [(m.step, m.value) for m in accuracies] == [
        (number + 1, report.metrics["accuracy"]) for number, report in enumerate(reports)
    ]
    trained = mlflow_client.get_metric_history(run.info.run_id, "training/loss")
    assert [m.step for m in trained] == [1, 2]
    model = next(a for a in reports[1].artifacts if a.name == "model.onnx")
    assert run.data.tags["comptroller.model.onnx"] == f"{model.uri} sha256:{model.sha256}"
    paths = [one.path for one in mlflow_client.list_artifacts(run.info.run_id, "rungs/1/mlflow")]
    assert "rungs/1/mlflow/MLmodel" in paths


@pytest.mark.timeout(600)
def test_a_server_that_is_away_changes_nothing(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # and does not listen
        report, output = rung(tmp_path, 0, f"http://127.0.0.1:{probe.getsockname()[1]}", "none")
    assert report.metrics["accuracy"] > 0.5
    assert re.search(r"not \w+ to MLflow", output)
