"""The fates of attempts: their Jobs and pods read back as `Run`s. Pure."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import cast

from comptroller.cluster import pods as of_pods
from comptroller.cluster.jobs import STOP, STOP_REASON, Body
from comptroller.cluster.ownership import (
    STAND_IN,
    attempt_of,
    index_of,
    is_stated,
    is_tombstone,
    is_watched,
    trial_uid,
)
from comptroller.cluster.pods import NEVER, unix
from comptroller.world import Exit, Run
from comptroller_api.contract import (
    EXIT_FINISHED,
    EXIT_SUSPENDED,
    LEASE_OVER,
    LEAVES_A_REPORT,
    report_digest,
    without_digest,
)
from comptroller_api.study import MOST_PODS
from comptroller_api.text import plain
from comptroller_api.trial import End

_MESSAGE = 512
"""Characters kept of what a pod or a person has left."""
_STOPS: frozenset[str] = frozenset({"Suspended", "Preempted", "LeaseExpired", "OutOfMemory", "Error"})
"""The ends that a stop can have. The note is an annotation, and others may write it."""


def run(job_body: Body, *pods: Body, lost_nodes: Collection[str] = ()) -> Run | None:
    """Return what became of an attempt with these pods; `None` for a Job that is not one of ours.

    Args:
        job_body: the Job, or what stands in for it.
        pods: all its pods.
        lost_nodes: names of nodes whose kubelets no longer report.
    """
    meta, spec, status = job_body["metadata"], job_body["spec"], job_body.get("status", {})
    key = attempt_of(job_body)
    if key is None:
        return None
    annotations = meta.get("annotations", {})
    stop, stop_reason = annotations.get(STOP), plain(annotations.get(STOP_REASON, ""), _MESSAGE)
    terminal = _terminal(status)
    indices = range(min(spec.get("completions") or 1, MOST_PODS))
    several = len(indices) > 1
    latest = _latest(pods, several=several)
    spans, ends, certain, unseen = _spans(job_body, pods, latest, indices, terminal)
    live = [pod for pod in pods if of_pods.may_run(pod)]
    leader = latest.get(0, {}).get("status", {}).get("podIP") if several else None
    template = spec.get("template", {})
    return Run(
        key=key,
        name=meta["name"],
        deadline=spec.get("activeDeadlineSeconds") or 0,
        granted=min(map(of_pods.granted, pods), default=of_pods.granted(template)),
        most_granted=max(map(of_pods.granted, pods), default=of_pods.granted(template)),
        created=unix(meta.get("creationTimestamp")),
        started=unix(status.get("startTime")),
        scheduled=min((start for start, _ in spans), default=None),
        ended=None if None in ends else max(end for end in ends if end is not None),
        spans=tuple(spans),
        certain=certain,
        reported=max(filter(None, map(of_pods.reported, pods)), default=None),
        exit=replace(
            _exit(min(latest.values(), key=_silence, default=None), terminal, overran=_overran(status)),
            report=_digest(latest.values()),
        ),
        stop=cast("End", stop) if stop in _STOPS else None,
        stop_reason=stop_reason,
        leader=None if all(of_pods.leader(pod) == leader for pod in pods) else leader,
        released=not any(map(of_pods.is_kept, [job_body, *pods])),
        deleted="deletionTimestamp" in meta,
        unseen=unseen,
        # A pod that is over stays among the active ones until the Job controller has counted it.
        incomplete=terminal is None
        and status.get("active", 0) + (status.get("terminating") or 0)
        > sum(not of_pods.finished(pod) or of_pods.is_tracked(pod) for pod in pods),
        uid=meta.get("uid"),
        trial=trial_uid(job_body),
        stated=is_stated(job_body),
        jobless=job_body.get("kind") == STAND_IN,
        # Ours never has a pod, whatever its container is called.
        tombstone=is_tombstone(job_body) and not pods,
        first_pod=min(
            (made for pod in pods if (made := unix(pod["metadata"].get("creationTimestamp")))), default=None
        ),
        pod_names=frozenset(pod["metadata"]["name"] for pod in pods),
        pods=spec.get("completions") or spec.get("parallelism") or 1,
        indexed=spec.get("completionMode") == "Indexed",
        unfinished=_is_unfinished(job_body),
        uncounted=terminal is None and _uncounted(job_body, _is_lost_to_its_job, latest.values()),
        paused=terminal is None
        and "deletionTimestamp" not in meta
        and (bool(spec.get("suspend")) or spec.get("parallelism", 1) == 0),
        bound=sum(of_pods.bound(pod) is not None for pod in pods),
        live=bool(live),
        unreachable=bool(live) and all(_is_lost(pod, lost_nodes) for pod in live),
        begun=any(map(of_pods.has_begun, pods)),
        restarted=any(map(of_pods.is_restarted, live)),
        done=any(map(of_pods.is_outlived, live)),
        pod_deadline=max(
            (pod.get("spec", {}).get("activeDeadlineSeconds") or NEVER for pod in live), default=0
        ),
        template=of_pods.requested(template.get("spec", {})),
        hidden=not all(map(is_watched, [job_body, *live, *filter(of_pods.is_kept, pods)])),
        requested=tuple({found for pod in pods if (found := of_pods.requested(pod.get("spec", {})))}),
    )


def _latest(pods: Sequence[Body], *, several: bool) -> dict[int, Body]:
    """Return the last pod of each index; that of a Job with one pod is 0, whatever is written on it."""
    return {index_of(pod) if several else 0: pod for pod in pods}


def _spans(
    job_body: Body,
    pods: Sequence[Body],
    latest: dict[int, Body],
    indices: Iterable[int],
    terminal: Body | None,
) -> tuple[list[tuple[int, int | None]], list[int | None], bool, int]:
    """Return when each pod held a node, when each ended, whether that is certain, and how many are guessed.

    A pod that is on no node has no span, and an end all the same. Those that were not seen are guessed from
    their Job, and come first.
    """
    status = job_body.get("status", {})
    over = unix(terminal["lastTransitionTime"]) if terminal else None
    if is_tombstone(job_body) and not pods:
        return [], [unix(job_body["metadata"].get("creationTimestamp"))], True, 0
    seen = [of_pods.span(pod, over) for pod in pods]
    # A pod that nobody saw is billed from the Job's start, unless the Job never had one. A Job may be called
    # failed long after its pod ended: the lease bounds it.
    had_pod = bool(status.get("failed") or status.get("succeeded") or status.get("ready"))
    guess = (unix(status.get("startTime")) if had_pod else None, over, not had_pod)
    guessed = [guess for index in indices if index not in latest]
    found = [*guessed, *seen]
    spans = [(start, end) for start, end, _ in found if start is not None]
    certain, unseen = all(sure for _, _, sure in found), sum(start is not None for start, _, _ in guessed)
    return spans, [end for _, end, _ in found], certain, unseen


def _is_lost_to_its_job(pod: Body) -> bool:
    """Return whether a pod is over without the finalizer by which the Job controller counts it.

    A pod that it has counted has lost the finalizer too. For one that it has not, it starts another.
    """
    return of_pods.finished(pod) and not of_pods.is_tracked(pod)


def _uncounted(job_body: Body, which: Callable[[Body], bool], pods: Iterable[Body]) -> bool:
    """Return whether more pods are `which` than the Job controller has counted."""
    if job_body.get("kind") == STAND_IN or "deletionTimestamp" in job_body["metadata"]:
        return False
    status = job_body.get("status", {})
    return sum(map(which, pods)) > _counted(status, "succeeded") + _counted(status, "failed")


def _counted(status: Body, which: str) -> int:
    """Return how many pods the Job controller has counted as ended: now, or before."""
    noted: Body = status.get("uncountedTerminatedPods") or {}
    return int(status.get(which) or 0) + len(noted.get(which) or ())


def _is_unfinished(job_body: Body) -> bool:
    """Return whether a Job that is there may start another pod."""
    spec, status = job_body["spec"], job_body.get("status", {})
    if job_body.get("kind") == STAND_IN or "deletionTimestamp" in job_body["metadata"]:
        return False
    succeeded, failed = _counted(status, "succeeded"), _counted(status, "failed")
    over = succeeded >= (spec.get("completions") or 1) or failed > spec.get("backoffLimit", 0)
    return not (over or any(_ends(status)))


def _is_lost(pod: Body, lost_nodes: Collection[str]) -> bool:
    return of_pods.given_up(pod) or pod.get("spec", {}).get("nodeName") in lost_nodes


def _silence(pod: Body) -> tuple[int, str, int]:
    """Return a key that orders the pods of an attempt by what they have to say of its end.

    First one that could not begin, then what failed, the earliest first: it ended the others.
    """
    done = of_pods.terminated(pod)
    if done is None or of_pods.unstarted(pod):
        return (0 if of_pods.stuck(pod) or of_pods.unstarted(pod) else 2), "", index_of(pod)
    return (3 if done.get("exitCode") == 0 else 1), done.get("finishedAt") or "", index_of(pod)


def _terminal(status: Body) -> Body | None:
    """Return the condition that says that the Job is over."""
    for condition in status.get("conditions", []):
        if condition["type"] in {"Complete", "Failed"} and condition["status"] == "True":
            return cast("Body", condition)
    return None


def _ends(status: Body) -> Iterator[Body]:
    """Yield the conditions that end a Job: the first kinds while it has a pod, the others then."""
    kinds = {"FailureTarget", "SuccessCriteriaMet", "Failed", "Complete"}
    return (one for one in status.get("conditions", []) if one["type"] in kinds and one["status"] == "True")


def _overran(status: Body) -> bool:
    """Return whether its deadline ends the Job."""
    return any(condition.get("reason") == of_pods.BY_DEADLINE for condition in _ends(status))


def _digest(pods: Iterable[Body]) -> str | None:
    """Return the digest of the report that the pods left as they finished; of several pods, one leaves it."""
    ends = [
        done for pod in pods if (done := of_pods.terminated(pod)) and done.get("exitCode") in LEAVES_A_REPORT
    ]
    found = [report_digest(str(done.get("message", ""))) for done in ends]
    return next(filter(None, found), "") if found else None


def _exit(pod: Body | None, terminal: Body | None, *, overran: bool) -> Exit:
    unstarted = pod is not None and of_pods.unstarted(pod)
    # A container that was never started has no exit code, though the kubelet makes one up.
    done = {} if unstarted else of_pods.terminated(pod) or {}
    lost, code = of_pods.condition(pod, "DisruptionTarget"), done.get("exitCode")
    # A trainer that finished leaves its report's digest there, and nothing that went wrong.
    left = "" if code == EXIT_FINISHED else without_digest(str(done.get("message", "")))
    message = plain(left, _MESSAGE) or plain(of_pods.stuck(pod), _MESSAGE)
    if code is None and terminal is not None and terminal["type"] == "Complete":
        code = EXIT_FINISHED
    by_guard = code == EXIT_SUSPENDED and message.startswith(LEASE_OVER)
    by_kubelet = pod is not None and pod.get("status", {}).get("reason") == of_pods.BY_DEADLINE
    return Exit(
        code=code,
        message=message,
        out_of_memory=done.get("reason") == "OOMKilled",
        deadline=by_guard or by_kubelet or overran,
        disruption=plain(lost.get("reason", ""), _MESSAGE) if lost else "",
        rejected=plain(of_pods.rejected(pod), _MESSAGE),
        unstarted=unstarted,
    )
