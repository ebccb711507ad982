"""The state of one pod: its time on a node, its end, its grant, its requests. Pure."""

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, cast

from kubernetes.utils.quantity import parse_quantity

from comptroller.world import Requested
from comptroller_api.contract import GRANT_ANNOTATION, LEADER_ANNOTATION
from comptroller_api.meta import FINALIZER

Body = dict[str, Any]

NEVER = 2**62
"""The end of a span that ended at a moment nobody knows: only the end of the lease bounds it."""
TRACKING = "batch.kubernetes.io/job-tracking"
"""The finalizer by which the Job controller counts each pod once."""
_PROMPT = 15
"""Seconds within which a kubelet that is heard has reported that a container ended."""
_ROUNDED = 1
"""Seconds by which stamps of whole seconds may seem to be in the wrong order."""
BY_DEADLINE = "DeadlineExceeded"
"""The reason of a pod that its own deadline ended, and of a Job that its deadline did."""
_NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
_BEGINNING = frozenset({"", "ContainerCreating", "PodInitializing"})
"""The reasons of a waiting container that is about to begin; every other reason is trouble."""
_MEASURED = frozenset({"cpu", "memory", "ephemeral-storage"})
"""Resources that are not counted in whole pieces."""
_UNSEEN = frozenset({"DeletionByTaintManager", "DeletionByPodGC"})
"""Reasons of a pod's disruption that do not involve its node."""


def unix(stamp: str | None) -> int | None:
    """Return a Kubernetes time as unix seconds."""
    return None if stamp is None else int(datetime.fromisoformat(stamp).timestamp())


def trimmed(body: Body) -> Body:
    """Return an object without what is never read of it, which is most of its bytes.

    Of `managedFields` a pod keeps when its kubelet last wrote its status, by the API server's clock.
    """
    kept = {name: value for name, value in body["metadata"].items() if name != "managedFields"}
    times = [
        str(one["time"])
        for one in body["metadata"].get("managedFields", [])
        if one.get("manager") == "kubelet" and one.get("subresource") == "status" and one.get("time")
    ]
    if times and body.get("kind", "Pod") == "Pod":
        entry = {"manager": "kubelet", "subresource": "status", "time": max(times)}
        kept["managedFields"] = [entry]
    return {**body, "metadata": kept}


def reported(pod: Body) -> int | None:
    """Return when the kubelet last wrote the pod's status, in unix seconds of the API server's clock."""
    stamps = [
        one["time"] for one in pod["metadata"].get("managedFields", []) if one.get("manager") == "kubelet"
    ]
    return unix(max(stamps)) if stamps else None


def granted(pod: Body) -> int:
    """Return the seconds that the guard is granted; what somebody wrote over them may be anything."""
    text = pod["metadata"].get("annotations", {}).get(GRANT_ANNOTATION, "")
    return int(text) if _NUMBER.fullmatch(text) else 0


def leader(pod: Body) -> str | None:
    """Return the address that the pod was given to meet the others."""
    return cast("str | None", pod["metadata"].get("annotations", {}).get(LEADER_ANNOTATION))


def finished(pod: Body) -> bool:
    """Return whether all containers of a pod are over."""
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def finalizers(pod: Body) -> list[str]:
    """Return the finalizers that keep an object."""
    return cast("list[str]", pod["metadata"].get("finalizers", []))


def is_tracked(pod: Body) -> bool:
    """Return whether the Job controller has yet to count a pod, or to learn that it ended."""
    return TRACKING in finalizers(pod)


def is_kept(body: Body) -> bool:
    """Return whether our finalizer keeps an object."""
    return FINALIZER in finalizers(body)


def condition(pod: Body | None, kind: str) -> Body | None:
    """Return the pod's condition of a kind, where it is true."""
    for one in (pod or {}).get("status", {}).get("conditions", []):
        if one["type"] == kind and one["status"] == "True":
            return cast("Body", one)
    return None


def terminated(pod: Body | None) -> Body | None:
    """Return how the trainer's container ended; `None` where it did not."""
    for container in (pod or {}).get("status", {}).get("containerStatuses", []):
        if container["name"] == "trainer" and "terminated" in container.get("state", {}):
            return cast("Body", container["state"]["terminated"])
    return None


def is_restarted(pod: Body) -> bool:
    """Return whether a container runs again, which kubelets let it only where somebody changed its image."""
    return any(one.get("restartCount", 0) > 0 for one in pod.get("status", {}).get("containerStatuses", []))


def is_outlived(pod: Body) -> bool:
    """Return whether the trainer has ended and another container keeps its pod running.

    A pod with all containers ended is about to be over. A native sidecar is ended by its kubelet.
    """
    if terminated(pod) is None:
        return False
    statuses = pod.get("status", {}).get("containerStatuses", [])
    ended = {one["name"] for one in statuses if "terminated" in one.get("state", {})}
    # The status of a container that has not begun may be absent.
    names = [one["name"] for one in [*pod.get("spec", {}).get("containers", []), *statuses]]
    return not ended.issuperset(names)


def stuck(pod: Body | None) -> str:
    """Return why the container never began: no node for it, a wrong image, a Secret that is not there."""
    for one in (pod or {}).get("status", {}).get("conditions", []):
        if one["type"] == "PodScheduled" and one["status"] == "False":
            return f"{one.get('reason', 'Unschedulable')}: {one.get('message', '')}"
    status = (pod or {}).get("status", {})
    trainers = [one for one in status.get("containerStatuses", []) if one["name"] == "trainer"]
    if any(one.get("state", {}).keys() & {"running", "terminated"} for one in trainers):
        return ""
    # An init container that somebody had injected keeps the trainer waiting.
    for container in [*trainers, *status.get("initContainerStatuses", [])]:
        state = container.get("state", {})
        waiting, done = state.get("waiting", {}), state.get("terminated", {})
        which = "" if container["name"] == "trainer" else f"init container {container['name']}: "
        if waiting.get("reason", "") not in _BEGINNING:
            return f"{waiting['reason']}: {which}{waiting.get('message', '')}"
        if done.get("exitCode"):
            return f"{done.get('reason') or 'Error'}: {which}exit {done['exitCode']}"
    return ""


def rejected(pod: Body | None) -> str:
    """Return why the kubelet did not take the pod, or evicted it; empty where it did neither."""
    status = (pod or {}).get("status", {})
    reason = status.get("reason") or ""
    if status.get("phase") != "Failed" or reason in {"", BY_DEADLINE}:
        return ""
    return f"{reason}: {status.get('message', '')}"


def unstarted(pod: Body) -> bool:
    """Return whether a pod failed before its trainer's container was ever started.

    The kubelet says of such a container that it is terminated in a way it does not know, and neither when it
    was started nor its id. A kubelet that refuses a pod gives no status of any container.
    """
    if pod.get("status", {}).get("phase") != "Failed" or given_up(pod):
        return False
    for one in pod["status"].get("containerStatuses", []):
        if one["name"] == "trainer":
            state = one.get("state", {})
            done = state.get("terminated", {})
            ran = "running" in state or done.get("startedAt") or done.get("finishedAt")
            return not (ran or one.get("containerID") or one.get("lastState"))
    return True


def given_up(pod: Body) -> bool:
    """Return whether the control plane gave the pod up without asking its node, where it may run on.

    It says so, or the pod is over by what others wrote, while its kubelet last saw a container that runs.
    """
    lost = condition(pod, "DisruptionTarget")
    statuses = pod.get("status", {}).get("containerStatuses", [])
    ran_last = finished(pod) and any("running" in one.get("state", {}) for one in statuses)
    return ran_last or (lost is not None and lost.get("reason") in _UNSEEN)


def has_begun(pod: Body) -> bool:
    """Return whether the trainer's container was ever started."""
    for one in pod.get("status", {}).get("containerStatuses", []):
        states = [one.get("state", {}), one.get("lastState", {})]
        if any("running" in state or state.get("terminated", {}).get("startedAt") for state in states):
            return True
    return False


def may_run(pod: Body) -> bool:
    """Return whether a pod is on a node and was not seen to end; the control plane may have given it up."""
    return bound(pod) is not None and (not finished(pod) or (given_up(pod) and not list(_ends(pod))))


def bound(pod: Body) -> int | None:
    """Return when the scheduler bound the pod to a node; `None` where it has none."""
    found = condition(pod, "PodScheduled")
    if found is not None:
        return unix(found["lastTransitionTime"])
    if pod.get("spec", {}).get("nodeName"):
        # It has a node, whatever its conditions say: from when the kubelet took it, or else from its making.
        return unix(pod["status"].get("startTime")) or unix(pod["metadata"].get("creationTimestamp"))
    return None


def span(pod: Body, job_over: int | None) -> tuple[int | None, int | None, bool]:
    """Return when a pod began to hold a node, when it ceased to, and whether the end is certain.

    A pod that is on no node costs nothing: its beginning is `None`. An end is `None` while the pod may run.
    Where no container was ever started there is no time of an end. Then it is estimated from when the kubelet
    reported it, and not from when the Job's controller learned of that, which a later pass sees.

    Args:
        pod: its body.
        job_over: when its Job became complete or failed, by the control plane's clock.
    """
    start = bound(pod)
    if start is None:
        # A pod that is being deleted gets no node. Until it is, it may get one, whatever became of its Job.
        gone = unix(pod["metadata"].get("deletionTimestamp"))
        return None, gone or (job_over if finished(pod) else None), True
    if not finished(pod):
        return start, None, True
    ends = list(_ends(pod))
    if not ends:
        if given_up(pod):
            return start, None, True  # it may run on where nobody can look
        lost = condition(pod, "DisruptionTarget")
        # A pod that is evicted is marked first, and ends when its kubelet has seen to that.
        known = reported(pod) or job_over or (unix(lost["lastTransitionTime"]) if lost else None)
        return start, NEVER if known is None else max(start, known), False
    return start, *_by_clocks(pod, start, max(ends), job_over)


def _ends(pod: Body) -> Iterator[int]:
    """Yield when each container ended, by the node's clock: one that was injected may outlive the trainer."""
    status = pod.get("status", {})
    for one in [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]:
        done = one.get("state", {}).get("terminated", {})
        if (at := unix(done.get("finishedAt"))) is not None:
            yield at


def _by_clocks(pod: Body, start: int, at: int, job_over: int | None) -> tuple[int, bool]:
    """Return when the work ended by the clock that stamped `start`, and whether that is certain.

    The node's clock may be off, which the difference of its own stamps takes out, and may step while the pod
    runs. A span that cannot be, because it would have ended before it began or after its end was reported,
    ends where the API server has stamped the kubelet's report. A report is late where the node was cut off,
    so that only an end that was reported promptly is certain; the caller bounds any other by the lease.
    """
    acknowledged = unix(pod["status"].get("startTime"))
    end = at if acknowledged is None else start + at - acknowledged
    known = reported(pod) or job_over
    if known is None:
        return (end if end >= start else NEVER), False  # only the end of the lease bounds it
    if start <= end <= known + _ROUNDED:
        return end, end >= known - _PROMPT
    return max(start, known), False


def requested(spec: Body) -> Requested | None:
    """Return what a pod of this spec makes the scheduler set aside; `None` where it names no container.

    As Kubernetes sums it: containers and sidecars together, or an init container where that is more, and the
    overhead of the runtime class.
    """
    if not (containers := spec.get("containers")):
        return None
    started = [one for one in spec.get("initContainers", []) if one.get("restartPolicy") == "Always"]
    before = [one for one in spec.get("initContainers", []) if one.get("restartPolicy") != "Always"]
    together = _sum(_requests(one) for one in [*containers, *started])
    sidecars = _sum(_requests(one) for one in started)
    amounts = dict(together)
    for one in before:
        for name, amount in _sum([_requests(one), sidecars]).items():
            amounts[name] = max(amounts.get(name, 0), amount)
    for name, amount in _requests(spec).items():
        amounts[name] = max(amounts.get(name, 0), amount)
    amounts = _sum([amounts, _amounts(spec.get("overhead", {}))])
    devices = {name: amount // 1000 for name, amount in amounts.items() if name not in _MEASURED and amount}
    if claims := len(spec.get("resourceClaims") or ()):
        devices["resourceClaims"] = claims
    return Requested(
        cpu_milli=amounts.get("cpu", 0),
        memory_bytes=-(-amounts.get("memory", 0) // 1000),
        devices=tuple(sorted(devices.items())),
        storage_bytes=-(-amounts.get("ephemeral-storage", 0) // 1000),
    )


def _requests(container: Body) -> dict[str, int]:
    """Return thousandths of each resource; a limit without a request is a request."""
    resources = container.get("resources", {})
    return _amounts(resources.get("limits", {}) | resources.get("requests", {}))


def _amounts(named: Body) -> dict[str, int]:
    return {name: _milli(str(amount)) for name, amount in named.items()}


@lru_cache(maxsize=4096)
def _milli(text: str) -> int:
    """Return thousandths of any quantity that Kubernetes takes, of which ours are only some."""
    amount: Decimal = parse_quantity(text)  # type: ignore[no-untyped-call]
    return int((amount * 1000).to_integral_value(rounding="ROUND_CEILING"))


def _sum(many: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for amounts in many:
        for name, amount in amounts.items():
            total[name] = total.get(name, 0) + amount
    return total
