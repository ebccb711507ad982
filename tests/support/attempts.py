"""An attempt for tests: its launch, its Job and its pod."""

from typing import Any

from comptroller.actions import Launch
from comptroller.cluster import jobs, runs
from comptroller.cluster.pods import TRACKING
from comptroller.world import Run
from comptroller_api.contract import Assignment
from comptroller_api.meta import FINALIZER
from comptroller_api.study import Study
from comptroller_api.trial import Trial

STUDY = Study.model_validate(
    {
        "metadata": {"name": "s", "namespace": "team", "uid": "u1"},
        "spec": {
            "data": {"uri": "generated:mnist1d", "format": "MNIST1D"},
            "space": {"parameters": [{"name": "model.width", "type": "Integer", "min": "4", "max": "64"}]},
            "objectives": [{"metric": "accuracy"}],
            "ceilings": {"spend": {"amount": "1.00", "currency": "USD"}},
            "search": {"trials": 2, "rungs": {"epochs": [1]}},
            "runtime": {"nodeClass": "small", "lease": {"duration": "60s", "longestAttempt": "2h"}},
            "artifacts": {"uri": "s3://bucket/artifacts", "credentialsSecret": "s3"},
        },
    }
)
TRIAL = Trial.model_validate(
    {
        "metadata": {"name": "s-u1-0001", "namespace": "team", "uid": "t1"},
        "spec": {
            "study": "s",
            "studyUid": "u1",
            "number": 1,
            "seed": 0,
            "parameters": {},
            "proposal": {"phase": "Search", "engine": "Random"},
        },
    }
)
LAUNCH = Launch(
    STUDY,
    TRIAL,
    Assignment.model_validate(
        {
            "study": "s",
            "namespace": "team",
            "trial": 1,
            "attempt": 0,
            "name": "s-u1-0001-0",
            "seed": 0,
            "rung": 0,
            "epochs": 1,
            "totalEpochs": 1,
            "data": STUDY.spec.data,
            "artifacts": "s3://bucket/x",
            "leaseSeconds": 60,
            "graceSeconds": 30,
        }
    ),
    "trainer:1",
    STUDY.spec.runtime.resources,
    {"class": "small"},
)


def made() -> jobs.Body:
    body = jobs.job(LAUNCH, jobs.PodSettings({"AWS_REGION": "r"}))
    body["metadata"] |= {"creationTimestamp": "2026-01-01T00:00:00Z"}
    return body


def run_of(job: jobs.Body, *pods: jobs.Body) -> Run:
    """Return the run of an attempt's Job and its pods."""
    found = runs.run(job, *pods)
    assert found is not None
    return found


def seconds(run: Run) -> list[int]:
    """Return what each pod of a run that is over is billed for."""
    assert run.ended is not None
    return [end - start for start, end in run.billed(run.ended)]


def pod(
    phase: str,
    *,
    bound: str | None = "2026-01-01T00:00:10Z",
    terminated: jobs.Body | None = None,
    **status: Any,
) -> jobs.Body:
    conditions = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": bound}] if bound else []
    statuses = [{"name": "trainer", "state": {"terminated": terminated} if terminated else {"running": {}}}]
    return {
        "metadata": {
            "name": "s-u1-0000-0-x7x7x",
            "annotations": {"comptroller.dev/lease-seconds": "90"},
            "finalizers": [FINALIZER, TRACKING],
        },
        "status": {"phase": phase, "containerStatuses": statuses, "conditions": conditions, **status},
    }
