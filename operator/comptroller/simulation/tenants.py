"""The edits of Jobs and pods by people with Kubernetes' `edit` role, by hand or by their own controllers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kubernetes.aio.client.exceptions import ApiException

from comptroller.cluster.jobs import ATTEMPT, MANAGED, STOP, STUDY, STUDY_UID, TRIAL
from comptroller.cluster.simulated import OPERATOR, PERSON, Pod, SimulatedJob
from comptroller.cluster.simulated.bodies import Body
from comptroller.ledger.names import attempt_name
from comptroller_api.contract import GRANT_ANNOTATION

if TYPE_CHECKING:
    from comptroller.simulation.run import Run

LONG = 21_600
"""Seconds that a tenant would like to run: six hours."""
_JOBS: dict[str, Callable[[], Body]] = {
    "deadline": lambda: {"spec": {"activeDeadlineSeconds": LONG}},
    "no deadline": lambda: {"spec": {"activeDeadlineSeconds": None}},
    "parallelism 0": lambda: {"spec": {"parallelism": 0}},
    "parallelism 3": lambda: {"spec": {"parallelism": 3}},
    "retries": lambda: {"spec": {"backoffLimit": 6, "podReplacementPolicy": "TerminatingOrFailed"}},
    "suspend": lambda: {"spec": {"suspend": True}},
    "resume": lambda: {"spec": {"suspend": False}},
    "stop note": lambda: {"metadata": {"annotations": {STOP: "Suspended"}}},
    "labels": lambda: {"metadata": {"labels": {TRIAL: None, ATTEMPT: "7"}}},
    "managed-by": lambda: {"metadata": {"labels": dict.fromkeys(MANAGED)}},
    "finalizers": lambda: {"metadata": {"finalizers": None}},
    "owner": lambda: {"metadata": {"ownerReferences": None}},
}
_PODS: dict[str, Callable[[], Body]] = {
    "grant": lambda: {"metadata": {"annotations": {GRANT_ANNOTATION: str(LONG)}}},
    "small grant": lambda: {"metadata": {"annotations": {GRANT_ANNOTATION: "1"}}},
    "labels": lambda: {"metadata": {"labels": {TRIAL: None}}},
    "managed-by": lambda: {"metadata": {"labels": dict.fromkeys(MANAGED)}},
    "finalizers": lambda: {"metadata": {"finalizers": None}},
    "deadline": lambda: {"spec": {"activeDeadlineSeconds": 5}},
}
JOB_EDITS, POD_EDITS = tuple(_JOBS), tuple(_PODS)


def _chosen(run: "Run", pick: int) -> SimulatedJob | None:
    """A Job of an attempt, those that run first."""
    jobs = [job for job in run.cluster.jobs.values() if job.key is not None]
    jobs.sort(key=lambda job: (not job.running, job.name))
    return jobs[pick % len(jobs)] if jobs else None


def _pod(run: "Run", pick: int) -> Pod | None:
    """A pod of an attempt, those that run first."""
    there = run.cluster.server.objects["pods"]
    pods = sorted((run.cluster.pods[uid] for uid in there), key=lambda pod: (not pod.running, pod.name))
    return pods[pick % len(pods)] if pods else None


def _try(run: "Run", job: SimulatedJob, what: str, call: Callable[[], Any]) -> None:
    """Let a person do something to a Job or to a pod of one, where the API server takes it."""
    if not run.cluster.api_up:
        return
    try:
        call()
    except ApiException as error:
        run.say("***", f"{what} is refused: {error.reason}")
    else:
        run.say("***", what)
        job.tampered = True


@dataclass(frozen=True)
class EditJob:
    """Somebody patches a Job."""

    at: int
    pick: int
    edit: str
    """One of `JOB_EDITS`."""
    seconds: int | None = None
    """The seconds after which `suspend` is taken back."""

    def __str__(self) -> str:
        return f"Job {self.pick} of those there are is patched: {self.edit}"

    def happen(self, run: "Run") -> None:
        """Patch it."""
        job = _chosen(run, self.pick)
        if job is None:
            return
        self._patch(run, job, self.edit)
        if self.edit == "suspend" and self.seconds is not None:
            run.cluster.timeline.after(self.seconds, lambda: self._patch(run, job, "resume"))

    def _patch(self, run: "Run", job: SimulatedJob, edit: str) -> None:
        _try(run, job, f"{job.name}: {edit}", lambda: run.cluster.edit("jobs", job.name, _JOBS[edit]()))


@dataclass(frozen=True)
class EditPod:
    """Somebody patches a pod."""

    at: int
    pick: int
    edit: str
    """One of `POD_EDITS`."""

    def __str__(self) -> str:
        return f"pod {self.pick} of those there are is patched: {self.edit}"

    def happen(self, run: "Run") -> None:
        """Patch it."""
        pod = _pod(run, self.pick)
        if pod is not None:
            patch = _PODS[self.edit]()
            _try(run, pod.job, f"{pod.name}: {self.edit}", lambda: run.cluster.edit("pods", pod.name, patch))


@dataclass(frozen=True)
class Talk:
    """Somebody talks an attempt out of its lease: its Job's deadline and its pod's grant are raised."""

    at: int
    pick: int

    def __str__(self) -> str:
        return f"the deadline and the grant of attempt {self.pick} are raised to {LONG}s"

    def happen(self, run: "Run") -> None:
        """Raise both."""
        job = _chosen(run, self.pick)
        if job is None:
            return
        patch = _JOBS["deadline"]()
        _try(run, job, f"{job.name}: deadline", lambda: run.cluster.edit("jobs", job.name, patch))
        for pod in job.pods:
            if pod.ended is None and pod.uid in run.cluster.server.objects["pods"]:
                name, grant = pod.name, _PODS["grant"]()
                _try(run, job, f"{name}: grant", lambda n=name, g=grant: run.cluster.edit("pods", n, g))  # type: ignore[misc]


@dataclass(frozen=True)
class DeleteManaged:
    """Somebody deletes a Job or a pod, perhaps after having taken its finalizers away."""

    at: int
    pick: int
    resource: str
    how: str
    """`Background`, `Foreground`, `Orphan`, `forced` (no grace), or `stripped` (no finalizers)."""

    def __str__(self) -> str:
        return f"one of the {self.resource} is deleted: {self.how}"

    def happen(self, run: "Run") -> None:
        """Delete it."""
        pod = _pod(run, self.pick) if self.resource == "pods" else None
        found = pod.job if pod is not None else _chosen(run, self.pick)
        if found is None or (pod is None and self.resource == "pods"):
            return
        job: SimulatedJob = found
        name, server = pod.name if pod else job.name, run.cluster.server

        def delete() -> None:
            grace = 0 if self.how == "forced" else None
            if self.how == "stripped":
                _strip(run, job)
            how: Any = self.how if self.how in {"Foreground", "Orphan"} else "Background"
            if server.named(self.resource, name) is not None:
                server.delete(self.resource, name, PERSON, how, grace)

        _try(run, job, f"{name} is deleted, {self.how}", delete)


def _strip(run: "Run", job: SimulatedJob) -> None:
    """Take the finalizers of a Job and its pods away."""
    for pod in job.pods:
        if pod.uid in run.cluster.server.objects["pods"]:
            run.cluster.edit("pods", pod.name, _PODS["finalizers"]())
    if not job.gone:
        run.cluster.edit("jobs", job.name, _JOBS["finalizers"]())


@dataclass(frozen=True)
class Remover:
    """Somebody's controller removes each attempt, with its finalizers, once its pod is on a node."""

    at: int
    seconds: int

    def __str__(self) -> str:
        return f"attempts are removed once their pods are on a node, for {self.seconds}s"

    def happen(self, run: "Run") -> None:
        """Look every second."""
        self._look(run, run.cluster.now + self.seconds)

    def _look(self, run: "Run", until: int) -> None:
        for job in [job for job in run.cluster.jobs.values() if job.key is not None and job.running]:
            _try(run, job, f"{job.name} is removed", lambda j=job: _remove(run, j))  # type: ignore[misc]
        if run.cluster.now < until:
            run.cluster.timeline.after(1, lambda: self._look(run, until))


def _remove(run: "Run", job: SimulatedJob) -> None:
    _strip(run, job)
    server = run.cluster.server
    for resource, name in [("jobs", job.name), *(("pods", pod.name) for pod in job.pods)]:
        if server.named(resource, name) is not None:
            server.delete(resource, name, PERSON, "Background", 0)


@dataclass(frozen=True)
class Impostor:
    """Somebody creates a Job under the name that an attempt will have."""

    at: int
    number: int
    """The number of the study."""
    trial: int
    attempt: int
    cpu: str = "2"
    labelled: bool = True
    """The pod is labelled as the attempt's."""

    def __str__(self) -> str:
        return f"a Job of somebody else has the name of attempt {self.attempt} of s{self.number}/{self.trial}"

    def happen(self, run: "Run") -> None:
        """Create it, where the name is free."""
        study = next((s for s in run.cluster.studies.values() if s.metadata.name == f"s{self.number}"), None)
        if study is None or not run.cluster.api_up:
            return
        uid = study.metadata.uid
        name = attempt_name(study.metadata.name, uid, self.trial, self.attempt)
        place = {TRIAL: str(self.trial), ATTEMPT: str(self.attempt)}
        labels = MANAGED | {STUDY: study.metadata.name, STUDY_UID: uid} | place
        amounts = {"cpu": self.cpu, "memory": "2Gi"}
        container = {
            "name": "trainer",
            "image": "miner",
            "resources": {"requests": amounts, "limits": amounts},
        }
        body = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "labels": labels if self.labelled else {}},
            "spec": {
                "activeDeadlineSeconds": LONG,
                "backoffLimit": 0,
                "template": {
                    "metadata": {"labels": labels if self.labelled else {}},
                    "spec": {"restartPolicy": "Never", "containers": [container]},
                },
            },
        }
        try:
            made = run.cluster.server.create("jobs", body, PERSON)
        except ApiException:
            made = None
        run.say("***", f"{name} is {'refused or taken' if made is None else 'created'}")
        # It is suspended at the end, since its pod would keep its node from everybody else.
        if made is not None:
            run.guests.append(name)


@dataclass(frozen=True)
class ClockStep:
    """A node's clock is stepped while pods run there."""

    at: int
    node: int
    seconds: int

    def __str__(self) -> str:
        return f"the clock of node {self.node} is stepped by {self.seconds:+}s"

    def happen(self, run: "Run") -> None:
        """Step it."""
        node = run.cluster.nodes[self.node % len(run.cluster.nodes)]
        for pod in run.cluster.pods_on(node):
            pod.job.tampered, pod.stepped_back = True, pod.stepped_back + max(0, -self.seconds)
        run.cluster.set_clock(node, node.clock + self.seconds)


@dataclass(frozen=True)
class Sidecars:
    """A service mesh injects a container that does not end by itself into the pods that are created."""

    at: int
    seconds: int

    def __str__(self) -> str:
        return f"pods get a sidecar, for {self.seconds}s"

    def happen(self, run: "Run") -> None:
        """Inject."""
        webhooks = run.cluster.server.webhooks
        webhooks.append(_inject)
        run.cluster.timeline.after(
            self.seconds, lambda: webhooks.remove(_inject) if _inject in webhooks else None
        )


def _inject(resource: str, body: Body) -> Body:
    if resource != "pods" or len(body["spec"]["containers"]) > 1:
        return body
    containers = [*body["spec"]["containers"], {"name": "sidecar", "image": "proxy"}]
    return {**body, "spec": {**body["spec"], "containers": containers}}


@dataclass(frozen=True)
class Quota:
    """A quota or a webhook refuses new pods."""

    at: int
    seconds: int

    def __str__(self) -> str:
        return f"new pods are refused, for {self.seconds}s"

    def happen(self, run: "Run") -> None:
        """Refuse them."""
        policies = run.cluster.server.policies
        policies.append(exceeded)
        run.cluster.timeline.after(
            self.seconds, lambda: policies.remove(exceeded) if exceeded in policies else None
        )


def exceeded(user: str, resource: str, old: Body | None, new: Body | None) -> str | None:
    """Return why a quota refuses a write."""
    del user
    refused = resource == "pods" and old is None and new is not None
    return "exceeded quota: pods, requested: pods=1, used: pods=4, limited: pods=4" if refused else None


@dataclass(frozen=True)
class Policies:
    """The chart's admission policies are installed: tenants change no managed object."""

    at: int

    def __str__(self) -> str:
        return "tenants may not change what the operator manages"

    def happen(self, run: "Run") -> None:
        """Install them."""
        run.cluster.server.policies.append(_managed)


def _managed(user: str, resource: str, old: Body | None, new: Body | None) -> str | None:
    if user != PERSON or resource not in {"jobs", "pods"}:
        return None
    labels = [body["metadata"].get("labels", {}) for body in (old, new) if body is not None]
    if any(MANAGED.items() <= one.items() for one in labels):
        return f"{resource} of the operator are changed only by {OPERATOR}"
    return None
