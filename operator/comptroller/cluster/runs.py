"""What became of attempts: their Jobs and pods read back. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import chain
from typing import cast, get_args

from comptroller.cluster.jobs import ATTEMPT, STOP, STOP_REASON, STUDY, STUDY_UID, TRIAL, Body
from comptroller.ledger.names import attempt_name
from comptroller.world import AttemptKey, Exit, Run
from comptroller_api.contract import (
    EXIT_FINISHED,
    EXIT_SUSPENDED,
    GRANT_ANNOTATION,
    LEADER_ANNOTATION,
    LEASE_OVER,
    report_digest,
)
from comptroller_api.meta import FINALIZER
from comptroller_api.study import MOST_PODS
from comptroller_api.text import plain
from comptroller_api.trial import End

_MADE_BY = "batch.kubernetes.io/controller-uid"
"""The Job controller's label on its pods."""
_COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
_MESSAGE = 512
"""Characters kept of what a pod or a person has left."""
_KEPT = 54
"""Characters of a Job's name that its pods' names begin with, however long their index."""
_STUCK = {
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
}
_UNSEEN = frozenset({"DeletionByTaintManager", "DeletionByPodGC"})
"""Reasons of a pod's disruption for which nobody asked its node."""


def unix(stamp: str | None) -> int | None:
    """A Kubernetes time as unix seconds."""
    return None if stamp is None else int(datetime.fromisoformat(stamp).timestamp())


def key_of(labels: Mapping[str, str]) -> AttemptKey | None:
    """The attempt that an object says it belongs to, by its labels."""
    trial, attempt = labels.get(TRIAL, ""), labels.get(ATTEMPT, "")
    if STUDY_UID not in labels or not _NUMBER.fullmatch(trial) or not _NUMBER.fullmatch(attempt):
        return None
    return labels[STUDY_UID], int(trial), int(attempt)


def attempt_of(job_body: Body) -> AttemptKey | None:
    """The attempt of a Job; `None` where it only carries our labels, and not an attempt's name."""
    labels = job_body["metadata"].get("labels", {})
    key = key_of(labels)
    if key is None or job_body["metadata"]["name"] != attempt_name(labels.get(STUDY, ""), *key):
        return None
    return key


def owner(pod: Body) -> str | None:
    """The uid of the Job that a pod was made by.

    A Job that is deleted with `--cascade=orphan` leaves its pod without an owner, and running: then the Job
    controller's label says whose it was.
    """
    if orphaned(pod):
        return cast("str | None", pod["metadata"].get("labels", {}).get(_MADE_BY))
    return next((str(one["uid"]) for one in _controllers(pod)), None)


def orphaned(pod: Body) -> bool:
    """Whether nothing controls a pod, so that no Job's deadline ends it."""
    return not _controllers(pod)


def _controllers(pod: Body) -> list[Body]:
    return [one for one in pod["metadata"].get("ownerReferences", []) if one.get("controller")]


def by_owner(pods: Iterable[Body]) -> dict[str, tuple[Body, ...]]:
    """The pods of each Job in order of their indices, by the Job's uid.

    Of several of one index (somebody suspended the Job and let it go on) the one that runs, or else that is
    not released.
    """

    def rank(pod: Body) -> tuple[bool, bool, bool, str]:
        return not orphaned(pod), not _over(pod), FINALIZER in _finalizers(pod), pod["metadata"]["uid"]

    found: dict[str, dict[int, Body]] = {}
    for pod in sorted(pods, key=rank):
        if (uid := owner(pod)) is not None:
            found.setdefault(uid, {})[_index(pod)] = pod
    return {uid: tuple(own[index] for index in sorted(own)) for uid, own in found.items()}


def _index(pod: Body) -> int:
    text = pod["metadata"].get("annotations", {}).get(_COMPLETION_INDEX, "")
    return int(text) if _NUMBER.fullmatch(text) else 0


def stand_in(pods: Sequence[Body]) -> Body | None:
    """A Job to read in the place of one that is gone, though its pods are here and have to be billed.

    Such as when somebody took the Job's finalizers away by hand. That it is gone is told by the pod, of which
    the garbage collector has let go or which it deletes: watches of Jobs may only be late.
    """
    pod = next((pod for pod in pods if FINALIZER in _finalizers(pod)), pods[0])
    meta = pod["metadata"]
    labels = meta.get("labels", {})
    key = key_of(labels)
    if key is None or FINALIZER not in _finalizers(pod) or not (orphaned(pod) or "deletionTimestamp" in meta):
        return None
    made, name = meta["creationTimestamp"], attempt_name(labels.get(STUDY, ""), *key)
    if not meta["name"].startswith(f"{name}-"[:_KEPT]):
        return None  # somebody's copy
    return {
        "metadata": {
            "name": name,
            "uid": owner(pod),
            "labels": labels,
            "annotations": meta.get("annotations", {}),
            "creationTimestamp": made,
            "deletionTimestamp": meta.get("deletionTimestamp", made),
        },
        "spec": {
            "activeDeadlineSeconds": _granted(pod),
            "completions": _index(pods[-1]) + 1,
            "template": {"metadata": {}},
        },
        "status": {"startTime": made},
    }


def is_tombstone(job_body: Body) -> bool:
    """Whether a Job only takes a name."""
    return bool(job_body["spec"].get("parallelism", 1) == 0)


def run(job_body: Body, *pods: Body) -> Run | None:
    """What became of an attempt with these pods; `None` for a Job that is not one of ours."""
    meta, spec, status = job_body["metadata"], job_body["spec"], job_body.get("status", {})
    key = attempt_of(job_body)
    if key is None:
        return None
    annotations = meta.get("annotations", {})
    stop, stop_reason = annotations.get(STOP), plain(annotations.get(STOP_REASON, ""), _MESSAGE)
    terminal = _terminal(status)
    indices = range(min(spec.get("completions") or 1, MOST_PODS))
    # A Job with one pod gives it no index; what somebody wrote there says nothing.
    mine = {_index(pod): pod for pod in pods} if len(indices) > 1 else dict(enumerate(pods[:1]))
    billed = [_billed(job_body, mine.get(index), terminal) for index in indices]
    begins, ends = [begin for begin, _ in billed if begin is not None], [end for _, end in billed]
    unseen = any(billed[place][0] is not None for place in indices if place not in mine)
    leader = mine.get(0, {}).get("status", {}).get("podIP") if len(indices) > 1 else None
    return Run(
        key=key,
        name=meta["name"],
        deadline=spec.get("activeDeadlineSeconds", 0),
        granted=min(_granted(pod) for pod in pods or [spec["template"]]),
        started=unix(status.get("startTime")),
        scheduled=min(begins, default=None),
        ended=None if None in ends else max(end for end in ends if end is not None),
        spans=() if len(indices) == 1 else tuple((begin, end) for begin, end in billed if begin is not None),
        exit=replace(
            _exit(min(pods, key=_silence, default=None), terminal, overran=_overran(status)),
            report=_digest(pods),
        ),
        stop=cast("End", stop) if stop in get_args(End) else None,
        stop_reason=stop_reason,
        leader=None if all(_leader(pod) == leader for pod in pods) else leader,
        released=FINALIZER not in [*meta.get("finalizers", []), *chain.from_iterable(map(_finalizers, pods))],
        deleted="deletionTimestamp" in meta,
        unseen=unseen,
    )


def _granted(pod: Body) -> int:
    """Seconds told to the guard; what somebody has made of the annotation may be anything."""
    text = pod["metadata"].get("annotations", {}).get(GRANT_ANNOTATION, "")
    return int(text) if _NUMBER.fullmatch(text) else 0


def _leader(pod: Body) -> str | None:
    return cast("str | None", pod["metadata"].get("annotations", {}).get(LEADER_ANNOTATION))


def _silence(pod: Body) -> tuple[int, str, int]:
    """Orders the pods of an attempt by what they have to say of its end.

    First one that could not begin, then what failed, the earliest first: it ended the others.
    """
    done = _terminated(pod)
    if done is None:
        return (0 if _stuck(pod) else 2), "", _index(pod)
    return (3 if done.get("exitCode") == 0 else 1), done.get("finishedAt") or "", _index(pod)


def _over(pod: Body) -> bool:
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def _finalizers(pod: Body | None) -> list[str]:
    return pod["metadata"].get("finalizers", []) if pod else []


def _terminal(status: Body) -> Body | None:
    """The condition that says that the Job is over."""
    for condition in status.get("conditions", []):
        if condition["type"] in {"Complete", "Failed"} and condition["status"] == "True":
            return cast("Body", condition)
    return None


def _terminated(pod: Body | None) -> Body | None:
    for container in (pod or {}).get("status", {}).get("containerStatuses", []):
        if container["name"] == "trainer" and "terminated" in container.get("state", {}):
            return cast("Body", container["state"]["terminated"])
    return None


def _stuck(pod: Body | None) -> str:
    """Why the container never began: no node for it, a wrong image, a Secret that is not there."""
    for condition in (pod or {}).get("status", {}).get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}"
    for container in (pod or {}).get("status", {}).get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting", {})
        if container["name"] == "trainer" and waiting.get("reason") in _STUCK:
            return f"{waiting['reason']}: {waiting.get('message', '')}"
    return ""


def _condition(pod: Body | None, kind: str) -> Body | None:
    for condition in (pod or {}).get("status", {}).get("conditions", []):
        if condition["type"] == kind and condition["status"] == "True":
            return cast("Body", condition)
    return None


def _billed(  # noqa: PLR0911  (a decision table)
    job_body: Body, pod: Body | None, terminal: Body | None
) -> tuple[int | None, int | None]:
    """When billing starts and, once the work has surely stopped, when it ends."""
    meta, status = job_body["metadata"], job_body.get("status", {})
    if is_tombstone(job_body):
        return None, unix(meta["creationTimestamp"])
    over = unix(terminal["lastTransitionTime"]) if terminal else None
    if pod is None:
        # Nobody saw the pod go: from the Job's start, unless the Job never had one.
        had_pod = bool(status.get("failed") or status.get("succeeded"))
        return (unix(status.get("startTime")) if had_pod else None), over
    bound = _condition(pod, "PodScheduled")
    scheduled = unix(bound["lastTransitionTime"]) if bound else None
    if scheduled is None and pod.get("spec", {}).get("nodeName"):
        # It has a node, whatever its conditions say: from when the kubelet took it, or else from its making.
        scheduled = unix(pod["status"].get("startTime")) or unix(pod["metadata"].get("creationTimestamp"))
    if scheduled is None:
        # A pod that is being deleted gets no node. Until it is, it may get one, whatever became of its Job.
        return None, unix(pod["metadata"].get("deletionTimestamp")) or (over if _over(pod) else None)
    if not _over(pod):
        return scheduled, None
    done, lost = _terminated(pod), _condition(pod, "DisruptionTarget")
    if done and done.get("finishedAt"):
        return scheduled, _ended(pod, scheduled, done["finishedAt"])
    if lost and lost.get("reason") in _UNSEEN:
        return scheduled, None  # it was given up, and may run on where nobody can look
    return scheduled, unix(lost["lastTransitionTime"]) if lost else over


def _ended(pod: Body, scheduled: int, finished: str) -> int | None:
    """When the work had stopped, by the clock that stamped `scheduled`: the node's own may be another."""
    acknowledged, at = unix(pod["status"].get("startTime")), unix(finished)
    return at if acknowledged is None or at is None else scheduled + max(0, at - acknowledged)


def _overran(status: Body) -> bool:
    """Whether the Job's deadline ends it: `FailureTarget` says so while a pod is there, `Failed` then."""
    return any(
        condition["type"] in {"FailureTarget", "Failed"}
        and condition["status"] == "True"
        and condition.get("reason") == "DeadlineExceeded"
        for condition in status.get("conditions", [])
    )


def _digest(pods: Iterable[Body]) -> str | None:
    """The digest of the report that the pods left as they finished; of several pods, one leaves it."""
    ends = [done for pod in pods if (done := _terminated(pod)) and done.get("exitCode") == EXIT_FINISHED]
    found = [report_digest(str(done.get("message", ""))) for done in ends]
    return next(filter(None, found), "") if found else None


def _exit(pod: Body | None, terminal: Body | None, *, overran: bool) -> Exit:
    done, lost = _terminated(pod) or {}, _condition(pod, "DisruptionTarget")
    code = done.get("exitCode")
    # A trainer that finished leaves its report's digest there, and nothing that went wrong.
    left = "" if code == EXIT_FINISHED else str(done.get("message", ""))
    message = plain(left, _MESSAGE) or plain(_stuck(pod), _MESSAGE)
    if code is None and terminal is not None and terminal["type"] == "Complete":
        code = EXIT_FINISHED
    by_guard = code == EXIT_SUSPENDED and message.startswith(LEASE_OVER)
    by_kubelet = pod is not None and pod.get("status", {}).get("reason") == "DeadlineExceeded"
    return Exit(
        code=code,
        message=message,
        out_of_memory=done.get("reason") == "OOMKilled",
        deadline=by_guard or by_kubelet or overran,
        disruption=plain(lost.get("reason", ""), _MESSAGE) if lost else "",
    )
