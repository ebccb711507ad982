"""The Job controller: it makes pods for Jobs, ends them at deadlines, and says what became of them.

As Kubernetes' own (1.31 and later): a Job that fails is marked first, then its pods are deleted, and it has
failed once they have ended. A pod that failed is replaced after a while, as often as the Job allows. A Job
that is suspended loses its pods, and one that is resumed begins to count its deadline again. A pod whose
tracking finalizer was taken away was never seen.
"""

import random

from kubernetes.aio.client.exceptions import ApiException

from comptroller.cluster.pods import TRACKING, is_tracked, unix
from comptroller.cluster.simulated.bodies import (
    Body,
    condition,
    controllers,
    is_over,
    stamp,
    with_condition,
    with_meta,
)
from comptroller.cluster.simulated.machines import Machines

_USER = "job-controller"
_INDEX = "batch.kubernetes.io/job-completion-index"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_AGAIN = 10
"""Seconds after which a pod that was refused is tried again."""
_BACKOFF = 10
"""Seconds between a pod that failed and the next one of its Job; twice as many after each further one."""
_KEPT = 57
"""Characters of a Job's name in the names of its pods."""


class JobController:
    """Level-based: `sync` brings one Job to where its body says it should be."""

    def __init__(self, cluster: Machines, seed: int) -> None:
        """Control the Jobs of a cluster."""
        self._cluster, self._server = cluster, cluster.server
        self._rng = random.Random(seed)
        self._waiting: set[str] = set()
        self._timers: dict[str, int] = {}
        self._retried: dict[str, int] = {}
        """The moment from which a Job's next pod may follow those that failed."""

    def soon(self, uid: str, seconds: int = 0) -> None:
        """Look at a Job in a moment."""
        if uid not in self._waiting:
            self._waiting.add(uid)
            self._cluster.timeline.after(seconds, lambda: self._look(uid))

    def _look(self, uid: str) -> None:
        self._waiting.discard(uid)
        self.sync(uid)

    def sync_all(self) -> None:
        """Look at all Jobs, after having been away."""
        for uid in self._server.objects["jobs"]:
            self.soon(uid)

    def sync(self, uid: str) -> None:
        """Look at one Job."""
        job = self._server.objects["jobs"].get(uid)
        if job is None or not self._cluster.controlled:
            return
        pods = [pod for pod in self._server.owned("pods", uid) if is_tracked(pod) or not is_over(pod)]
        if condition(job, "Complete") or condition(job, "Failed"):
            self._untrack(pods)
            return
        status = self._began(job)
        status = self._counted(job, status, pods)
        active = [p for p in pods if not is_over(p) and "deletionTimestamp" not in p["metadata"]]
        leaving = [p for p in pods if not is_over(p) and "deletionTimestamp" in p["metadata"]]
        status = self._failing(job, status)
        target = condition({"status": status}, "FailureTarget")
        if target is not None:
            self._delete(active)
            if not active and not leaving:
                status = self._concluded(status, "Failed", target["reason"])
        elif job["spec"].get("suspend"):
            self._delete(active)
            status = self._conditioned(status, "Suspended", "True")
        elif status.get("succeeded", 0) >= _completions(job):
            if not active and not leaving:
                status = self._concluded(status, "Complete", "CompletionsReached")
        elif "deletionTimestamp" not in job["metadata"]:
            status = self._resumed(status)
            self._manage(job, status, active, leaving)
        self._write(job, self._with_counts(uid, status))
        self._untrack([pod for pod in pods if is_over(pod)])
        self._wait(job, status)

    def _with_counts(self, uid: str, status: Body) -> Body:
        """Count the pods that are not over: terminating those that somebody deletes, active the others."""
        over = condition({"status": status}, "Complete") or condition({"status": status}, "Failed")
        pods = () if over else [pod for pod in self._server.owned("pods", uid) if not is_over(pod)]
        terminating = sum("deletionTimestamp" in pod["metadata"] for pod in pods)
        counts = {"active": len(pods) - terminating, "terminating": terminating}
        kept = {name: value for name, value in status.items() if name not in counts}
        return kept | {name: count for name, count in counts.items() if count}

    # -- what a Job is -------------------------------------------------------------------------------------

    def _began(self, job: Body) -> Body:
        status: Body = job.get("status", {})
        if "startTime" in status or job["spec"].get("suspend"):
            return status
        return {**status, "startTime": stamp(self._cluster.now)}

    def _resumed(self, status: Body) -> Body:
        if not condition({"status": status}, "Suspended"):
            return status
        return self._conditioned(status, "Suspended", "False") | {"startTime": stamp(self._cluster.now)}

    def _counted(self, job: Body, status: Body, pods: list[Body]) -> Body:
        """Count the pods that have ended since; those with the finalizer were not counted before."""
        done = [pod for pod in pods if is_over(pod)]
        if not done:
            return status
        succeeded = sum(pod["status"]["phase"] == "Succeeded" for pod in done)
        counts = {"succeeded": succeeded, "failed": len(done) - succeeded}
        if counts["failed"]:
            times = status.get("failed", 0) + counts["failed"]
            self._retried[job["metadata"]["uid"]] = self._cluster.now + _BACKOFF * 2 ** (times - 1)
        return {**status, **{name: status.get(name, 0) + count for name, count in counts.items() if count}}

    def _failing(self, job: Body, status: Body) -> Body:
        if condition({"status": status}, "FailureTarget"):
            return status
        if status.get("failed", 0) > job["spec"].get("backoffLimit", 6):
            return self._conditioned(status, "FailureTarget", "True", "BackoffLimitExceeded")
        if self._deadline(job, status) is not None and self._cluster.now >= (
            self._deadline(job, status) or 0
        ):
            return self._conditioned(status, "FailureTarget", "True", "DeadlineExceeded")
        return status

    def _deadline(self, job: Body, status: Body) -> int | None:
        seconds, started = job["spec"].get("activeDeadlineSeconds"), unix(status.get("startTime"))
        if seconds is None or started is None or job["spec"].get("suspend"):
            return None
        return started + int(seconds)

    def _conditioned(self, status: Body, kind: str, value: str, reason: str = "") -> Body:
        conditions = with_condition(status.get("conditions", ()), kind, value, self._cluster.now, reason)
        return {**status, "conditions": conditions}

    def _concluded(self, status: Body, kind: str, reason: str) -> Body:
        status = self._conditioned(status, kind, "True", reason)
        return {**status, "completionTime": stamp(self._cluster.now)} if kind == "Complete" else status

    # -- what is done about it -----------------------------------------------------------------------------

    def _manage(self, job: Body, status: Body, active: list[Body], leaving: list[Body]) -> None:
        """Make pods that are missing, and delete those that are too many."""
        spec, uid = job["spec"], job["metadata"]["uid"]
        if spec.get("podReplacementPolicy") == "TerminatingOrFailed":
            leaving = []
        if (left := self._retried.get(uid, 0) - self._cluster.now) > 0:
            self.soon(uid, left)
            return
        wanted = min(spec.get("parallelism", 1), _completions(job) - status.get("succeeded", 0))
        if len(active) > wanted:
            self._delete(active[wanted:])
            return
        taken = {_index(pod) for pod in [*active, *leaving]}
        free = (index for index in range(_completions(job)) if index not in taken)
        for index in [
            index for index, _ in zip(free, range(wanted - len(active) - len(leaving)), strict=False)
        ]:
            template = spec["template"]
            meta = template["metadata"]
            suffix = "".join(self._rng.choice(_LETTERS) for _ in range(5))
            name = job["metadata"]["name"][:_KEPT] + (f"-{index}" if _completions(job) > 1 else "")
            annotations = dict(meta.get("annotations", {}))
            if spec.get("completionMode") == "Indexed":
                annotations[_INDEX] = str(index)
            reference = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "uid": uid}
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": f"{name}-{suffix}",
                    "labels": meta.get("labels", {}),
                    "annotations": annotations,
                    "finalizers": [*meta.get("finalizers", ()), TRACKING],
                    "ownerReferences": [{**reference, "controller": True, "blockOwnerDeletion": True}],
                },
                "spec": template["spec"],
                "status": {"phase": "Pending", "conditions": []},
            }
            if not self._create(pod):
                self.soon(uid, _AGAIN)

    def _create(self, pod: Body) -> bool:
        """Create a pod; `False` where a quota or a policy refuses it."""
        try:
            return self._server.create("pods", pod, _USER) is not None
        except ApiException as error:
            self._cluster.witness.say("jobs", f"{pod['metadata']['name']} is refused: {error.reason}")
            return False

    def _delete(self, pods: list[Body]) -> None:
        for pod in pods:
            if self._server.objects["pods"].get(pod["metadata"]["uid"]) is not None:
                self._server.delete("pods", pod["metadata"]["name"], _USER)

    def _untrack(self, pods: list[Body]) -> None:
        for pod in pods:
            now = self._server.objects["pods"].get(pod["metadata"]["uid"])
            if now is not None and is_tracked(now) and is_over(now):
                kept = [one for one in now["metadata"]["finalizers"] if one != TRACKING]
                self._server.replace("pods", with_meta(now, finalizers=kept), _USER)

    def _write(self, job: Body, status: Body) -> None:
        now = self._server.objects["jobs"].get(job["metadata"]["uid"])
        if now is not None and status != now.get("status", {}):
            self._server.replace("jobs", {**now, "status": status}, _USER, "status")

    def _wait(self, job: Body, status: Body) -> None:
        """Look again when the deadline comes."""
        uid, due = job["metadata"]["uid"], self._deadline(job, status)
        if due is None or self._timers.get(uid) == due or due < self._cluster.now:
            return
        self._timers[uid] = due
        self._cluster.timeline.at(due, lambda: self.sync(uid))


def _completions(job: Body) -> int:
    return int(job["spec"].get("completions") or 1)


def _index(pod: Body) -> int:
    return int(pod["metadata"].get("annotations", {}).get(_INDEX, "0"))


def job_of(pod: Body) -> str | None:
    """Return the uid of the Job that controls a pod."""
    return next((str(one["uid"]) for one in controllers(pod) if one["kind"] == "Job"), None)
