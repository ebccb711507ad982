"""The ownership of Jobs and pods: by names, labels, owners and uids; none of them is a proof alone. Pure."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from comptroller.cluster.jobs import ATTEMPT, LABELS_ENV, MANAGED, NOTHING, STUDY, STUDY_UID, TRIAL, Body
from comptroller.cluster.pods import finished, granted
from comptroller.ledger.names import AttemptKey, attempt_name
from comptroller_api.meta import GROUP

_MADE_BY = "batch.kubernetes.io/controller-uid"
"""The Job controller's label on its pods."""
_COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
STAND_IN = "StandIn"
"""The kind of what `stand_in` returns, which no API has."""
_LONGEST_LABELS = 2000
"""Characters, more than six labels can have."""
_KEPT = 54
"""Characters of a Job's name that its pods' names begin with, however long their index."""


def labels_of(body: Body) -> Mapping[str, str]:
    """Return the labels that a Job or pod was made with, which somebody may have changed since.

    A Job's template keeps them, and a pod's environment; nobody can change either.
    """
    own, spec = body["metadata"].get("labels", {}), body.get("spec", {})
    template = spec.get("template", {}).get("metadata", {}).get("labels", {})
    return cast("Mapping[str, str]", template) if STUDY_UID in template else {**own, **_made_with(spec)}


def is_stated(job_body: Body) -> bool:
    """Return whether the pods of a Job are made with its attempt in their environment."""
    stated = key_of(_made_with(job_body["spec"].get("template", {}).get("spec", {})))
    return stated is not None and stated == key_of(labels_of(job_body))


def _made_with(pod_spec: Body) -> dict[str, str]:
    """Return the labels in a pod's environment; none where somebody else wrote something there."""
    variables = (one for container in pod_spec.get("containers", ()) for one in container.get("env", ()))
    text = next((one.get("value", "") for one in variables if one.get("name") == LABELS_ENV), "")
    if not text or len(text) > _LONGEST_LABELS:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    items = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in items if isinstance(value, str)}


def is_watched(body: Body) -> bool:
    """Return whether watches, which ask for the label of what the operator makes, bring an object."""
    return bool(body["metadata"].get("labels", {}).items() >= MANAGED.items())


def is_managed(body: Body) -> bool:
    """Return whether a Job or pod carries the label of what the operator makes."""
    return labels_of(body).items() >= MANAGED.items()


def key_of(labels: Mapping[str, str]) -> AttemptKey | None:
    """Return the attempt that an object says it belongs to, by its labels."""
    trial, attempt = labels.get(TRIAL, ""), labels.get(ATTEMPT, "")
    if STUDY_UID not in labels or not _NUMBER.fullmatch(trial) or not _NUMBER.fullmatch(attempt):
        return None
    return AttemptKey(labels[STUDY_UID], int(trial), int(attempt))


def attempt_of(job_body: Body) -> AttemptKey | None:
    """Return the attempt of a Job; `None` where it only carries our labels, and not an attempt's name."""
    labels = labels_of(job_body)
    key = key_of(labels)
    if key is None or job_body["metadata"]["name"] != attempt_name(labels.get(STUDY, ""), *key):
        return None
    return key


def trial_uid(job_body: Body) -> str | None:
    """Return the uid of the `Trial` that controls a Job, by its owner references."""
    return next(
        (
            str(one.get("uid"))
            for one in _controllers(job_body)
            if one.get("kind") == "Trial" and str(one.get("apiVersion", "")).startswith(f"{GROUP}/")
        ),
        None,
    )


def job_uid(pod: Body) -> str | None:
    """Return the uid of the Job that a pod was made by.

    A Job that is deleted with `--cascade=orphan` leaves its pod without an owner, and running: then the Job
    controller's label has the uid.
    """
    if orphaned(pod):
        return cast("str | None", pod["metadata"].get("labels", {}).get(_MADE_BY))
    return next((str(one["uid"]) for one in _controllers(pod)), None)


def orphaned(pod: Body) -> bool:
    """Return whether nothing controls a pod, so that no Job's deadline ends it."""
    return not _controllers(pod)


def _controllers(body: Body) -> list[Body]:
    return [one for one in body["metadata"].get("ownerReferences", []) if one.get("controller")]


def by_job(pods: Iterable[Body]) -> dict[str, tuple[Body, ...]]:
    """Return all pods of each Job by the Job's uid, in order of their indices and then of their making.

    An index has several pods where a Job was suspended and resumed, or where the Job controller replaced one.
    An orphan is believed to be of the Job that its label names only if it has the name of such a pod.
    """
    found: dict[str, list[Body]] = {}
    for pod in pods:
        uid = job_uid(pod)
        if uid is not None and not (orphaned(pod) and not _is_named_after_attempt(pod)):
            found.setdefault(uid, []).append(pod)
    return {uid: tuple(sorted(own, key=_order)) for uid, own in found.items()}


def _is_named_after_attempt(pod: Body) -> bool:
    labels = labels_of(pod)
    key = key_of(labels)
    name = "" if key is None else attempt_name(labels.get(STUDY, ""), *key)
    return key is not None and str(pod["metadata"]["name"]).startswith(f"{name}-"[:_KEPT])


def _order(pod: Body) -> tuple[int, str, str]:
    meta = pod["metadata"]
    return index_of(pod), meta.get("creationTimestamp") or "", meta.get("uid") or ""


def index_of(pod: Body) -> int:
    """Return the completion index of a pod; 0 where it has none."""
    text = pod["metadata"].get("annotations", {}).get(_COMPLETION_INDEX, "")
    return int(text) if _NUMBER.fullmatch(text) else 0


def speaker(pods: Sequence[Body]) -> Body:
    """Return the pod that is scraped for an attempt's heartbeat: the first that is not over."""
    return next((pod for pod in pods if not finished(pod)), pods[0])


def stand_in(pods: Sequence[Body], *, fresh: bool) -> Body | None:
    """Return a Job to read in the place of one that is not there, though its pods are and have to be billed.

    Such as when somebody took the Job's finalizers or labels off by hand. Watches of Jobs may be late, so the
    pod has to prove it: the garbage collector has let go of the pod or deletes it, or the read is `fresh`.
    """
    pod = pods[0]
    meta, labels = pod["metadata"], labels_of(pod)
    key = key_of(labels)
    gone = orphaned(pod) or "deletionTimestamp" in meta
    if key is None or not (gone or fresh) or not _is_named_after_attempt(pod):
        return None
    made, name = meta["creationTimestamp"], attempt_name(labels.get(STUDY, ""), *key)
    allowed, own = granted(pod), pod.get("spec", {}).get("activeDeadlineSeconds")
    return {
        "kind": STAND_IN,
        "metadata": {
            "name": name,
            "uid": job_uid(pod),
            "labels": labels,
            "annotations": meta.get("annotations", {}),
            "creationTimestamp": made,
            "deletionTimestamp": meta.get("deletionTimestamp", made),
        },
        "spec": {
            # A stop lowers the pod's own deadline, since there is no Job's that it could lower.
            "activeDeadlineSeconds": min(allowed or own or 0, own or allowed),
            "completions": index_of(pods[-1]) + 1,
            "template": {"metadata": {}},
        },
        "status": {"startTime": made},
    }


def is_tombstone(job_body: Body) -> bool:
    """Return whether a Job only takes a name: its template, which nobody can change, runs nothing."""
    containers = job_body["spec"].get("template", {}).get("spec", {}).get("containers", [])
    return [one.get("name") for one in containers] == [NOTHING]
