"""Kubernetes events: what people see under `kubectl describe`. Pure."""

import hashlib
from datetime import UTC, datetime
from typing import Any, Literal

from comptroller import actions as act
from comptroller.world import Refused
from comptroller_api.budget import Budget, BudgetStatus
from comptroller_api.meta import API_VERSION, Metadata
from comptroller_api.study import Study
from comptroller_api.text import plain
from comptroller_api.trial import Trial

Body = dict[str, Any]


def event_of(namespace: str, action: act.Action) -> Body | None:
    """Return the event of an action that took effect; named after its message, so that it is sent once."""
    match action:
        case act.CreateTrial(study, trial):
            message = f"trial {trial.spec.number}: {trial.spec.proposal.reason or trial.spec.proposal.phase}"
            return _event(namespace, "Study", study.metadata, "Normal", "TrialCreated", message)
        case act.Launch(_, trial, work):
            message = f"attempt {work.attempt} launched as Job {work.name} for {work.lease_seconds}s"
            return _event(namespace, "Trial", trial.metadata, "Normal", "AttemptLaunched", message)
        case act.RecordTrial(trial, status) if status.outcome and not (trial.status and trial.status.outcome):
            kind: Literal["Normal", "Warning"] = (
                "Normal" if status.outcome in {"Succeeded", "Pruned"} else "Warning"
            )
            message = status.reason or f"the trial ended: {status.outcome}"
            return _event(namespace, "Trial", trial.metadata, kind, status.outcome, message)
        case act.RecordStudy(study, status):
            return _study_event(namespace, study, {c.type: c for c in status.conditions})
        case act.RecordBudget(budget, status):
            return _budget_event(namespace, budget, status)
    return None


def _study_event(namespace: str, study: Study, now: dict[str, Any]) -> Body | None:
    before = {c.type: c for c in study.status.conditions} if study.status else {}
    for kind, level in (("Failed", "Warning"), ("Complete", "Normal"), ("Stalled", "Warning")):
        new, old = now[kind], before.get(kind)
        if new.status == "True" and (old is None or old.status != "True" or old.reason != new.reason):
            return _event(namespace, "Study", study.metadata, level, new.reason, new.message)
    return None


def _budget_event(namespace: str, budget: Budget, status: BudgetStatus) -> Body | None:
    before = {c.type: c.reason for c in budget.status.conditions} if budget.status else {}
    for now in status.conditions:
        bad = (now.status == "True") != (now.type == "Ready")
        if bad and before.get(now.type) != now.reason:
            return _event(namespace, "Budget", budget.metadata, "Warning", now.reason, now.message)
    return None


def refused_event(body: Body, refused: Refused) -> Body:
    """Return the event of an object that does not parse, in `default` if the object has no namespace."""
    meta = body["metadata"]
    about = {"kind": refused.kind, "name": meta["name"], "uid": meta["uid"]}
    if "namespace" in meta:
        about["namespace"] = meta["namespace"]
    reason = "WrittenByNewerRelease" if refused.newer else "Refused"
    return _event_about(about, "Warning", reason, refused.why)


def unwritten_event(namespace: str, one: Study | Trial | Budget, why: str) -> Body:
    """The event of an object whose status the API server does not take."""
    return _event(namespace, one.kind, one.metadata, "Warning", "StatusRefused", why)


def _event(namespace: str, kind: str, meta: Metadata, level: str, reason: str, message: str) -> Body:
    about = {"kind": kind, "name": meta.name, "namespace": namespace, "uid": meta.uid}
    return _event_about(about, level, reason, message)


def _event_about(about: dict[str, str], level: str, reason: str, message: str) -> Body:
    message = plain(message, 1024)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    digest = hashlib.sha256(f"{about['uid']}/{reason}/{message}".encode()).hexdigest()[:16]
    place = about.get("namespace", "default")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{about['name']}.{digest}", "namespace": place},
        "involvedObject": {"apiVersion": API_VERSION, **about},
        "type": level,
        "reason": reason,
        "message": message,
        "source": {"component": "comptroller"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
