"""Report a rung to an MLflow server, if the environment names one.

MLflow gets a copy. The report in the store decides and is written first, so an unavailable server costs the
trial some seconds and nothing else. A trial is a run, in an experiment that is named `<namespace>/<study>`;
all rungs of a trial share the run.
"""

import json
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog

from comptroller_api.contract import TRACKING_ENV, Assignment, Report
from comptroller_api.text import without_credentials
from comptroller_trainer.store import ObjectStore

_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
_ONE, _EPOCHS = "comptroller.artifacts", "comptroller.epochs"
"""Tags: the trial that a run belongs to, and the last epoch that the run has."""
_FILES = ("model.onnx", "model.safetensors", "card.md")
_BATCH = 500
_log = structlog.get_logger("tracking")


def track(assignment: Assignment, report: Report, store: ObjectStore, directory: Path) -> None:
    """Report the rung's results to the server of `TRACKING_ENV`, if there is one.

    Args:
        assignment: the attempt's.
        report: as it was published.
        store: where `history.json` is.
        directory: where `mlflow/` is, if the recipe exports it: it becomes an artifact of the run.
    """
    if not os.environ.get(TRACKING_ENV):
        return
    began = time.monotonic()
    try:
        _log_rung(assignment, report, store, directory)
    except ImportError:
        _log.warning(
            "not reported to MLflow", reason="needs comptroller-trainer[mlflow], which this image lacks"
        )
    except Exception as error:  # noqa: BLE001 - mlflow's own, and those of all that it calls
        reason = f"{type(error).__name__}: {without_credentials(str(error))[:300]}"
        _log.warning("not reported to MLflow", reason=reason)
    else:
        _log.info("reported to MLflow", seconds=round(time.monotonic() - began, 1))


def _log_rung(assignment: Assignment, report: Report, store: ObjectStore, directory: Path) -> None:
    client = _client()
    from mlflow.entities import RunTag  # noqa: PLC0415 - seconds, and an extra

    run, epochs = _run(client, assignment)
    rung = f"rungs/{assignment.rung}"
    metrics = [*_training(json.loads(store.get(f"{rung}/history.json")), epochs), *_final(report)]
    for first in range(0, len(metrics), _BATCH):
        client.log_batch(run, metrics=metrics[first : first + _BATCH])
    if (model := directory / "mlflow").is_dir():
        client.log_artifacts(run, str(model), f"{rung}/mlflow")
    tags = {
        _EPOCHS: report.epochs,
        "comptroller.attempt": assignment.attempt,
        "comptroller.rung": assignment.rung,
        **{
            f"comptroller.{a.name}": f"{a.uri} sha256:{a.sha256}"
            for a in report.artifacts
            if a.name in _FILES
        },
    }
    client.log_batch(run, tags=[RunTag(name, str(value)) for name, value in tags.items()])
    client.set_terminated(run)


def _client() -> Any:
    for name, value in {**_PATIENCE, "MLFLOW_DISABLE_TELEMETRY": "true"}.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings(action="ignore"):  # of type hints in its own code
        from mlflow.tracking import MlflowClient  # noqa: PLC0415 - seconds

    return MlflowClient()


def _run(client: Any, assignment: Assignment) -> tuple[str, int]:
    """Return the trial's run, and the number of epochs that the run has."""
    from mlflow.entities import Param  # noqa: PLC0415 - seconds, and an extra

    experiment = _experiment(client, f"{assignment.namespace}/{assignment.study}")
    found = client.search_runs([experiment], f"tags.`{_ONE}` = '{assignment.artifacts}'", max_results=1)
    if found:
        return found[0].info.run_id, int(found[0].data.tags.get(_EPOCHS, "0"))
    tags = {_ONE: assignment.artifacts, "comptroller.trial": str(assignment.trial)}
    name = f"{assignment.study}-{assignment.trial:04d}"
    run = client.create_run(experiment, run_name=name, tags=tags).info.run_id
    given = {**assignment.parameters, "seed": assignment.seed, "data": assignment.data.uri}
    client.log_batch(run, params=[Param(key, str(value)) for key, value in given.items()])
    return run, 0


def _experiment(client: Any, name: str) -> str:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - seconds, and an extra

    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:
        if found := client.get_experiment_by_name(name):  # another trial was first
            return str(found.experiment_id)
        raise


def _training(history: list[Mapping[str, float]], reported: int) -> Iterator[Any]:
    """Yield the metrics of each epoch after the `reported` ones, with the epoch as step."""
    for entry in history:
        if (epoch := int(entry["epoch"])) > reported:
            yield from _metrics({f"training/{k}": v for k, v in entry.items() if k != "epoch"}, epoch)


def _final(report: Report) -> Iterator[Any]:
    """Yield the metrics of the exported artifact, and the seconds of the trial."""
    yield from _metrics({**report.metrics, "seconds": report.seconds}, report.epochs)


def _metrics(values: Mapping[str, float], step: int) -> Iterator[Any]:
    from mlflow.entities import Metric  # noqa: PLC0415 - seconds, and an extra

    now = int(time.time() * 1000)
    for name, value in values.items():
        yield Metric(name, float(value), now, step)
