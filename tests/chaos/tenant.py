"""A tenant who is bound to Kubernetes' own role `edit`, and tampers with the operator's objects."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.realcluster import RealCluster

USER = "chaos-tenant"
INTRUDER = "intruder"
"""The container's name in Jobs that the tenant makes."""
_AS = (f"--as={USER}", "--as-group=system:authenticated")
_OURS = "app.kubernetes.io/managed-by=comptroller"
_KEPT = "comptroller.dev/ledger"
_LONG = 6 * 3600
_GONE = re.compile(
    "not ?found|refused|timeout|timed out|EOF|no resources|unable to|container not", re.IGNORECASE
)
_REFUSAL = re.compile("(denied request|forbidden): .*")
REFUSED, LET_GO = "refused", "let go before"
"""`LET_GO`: a deletion was accepted because the operator no longer needed the object."""

Body = dict[str, Any]
Words = tuple[str, ...]
FREE = json.dumps({"metadata": {"finalizers": None}})
MERGE = ("--type=merge", "-p")
PODS = ("pod", "-l", "job-name={job}")
NOW = ("--wait=false", "--grace-period=0", "--force")


def _job(change: Body) -> list[Words]:
    return [("patch", "job/{job}", *MERGE, json.dumps(change))]


MANAGED: dict[str, list[Words]] = {
    "raise the deadline": _job({"spec": {"activeDeadlineSeconds": _LONG}}),
    "suspend": _job({"spec": {"suspend": True}}),
    "unsuspend": _job({"spec": {"suspend": False}}),
    "no parallelism": _job({"spec": {"parallelism": 0}}),
    "more parallelism": _job({"spec": {"parallelism": 3}}),
    "call it stopped": _job({"metadata": {"annotations": {"comptroller.dev/stop": "Suspended"}}}),
    "strip the Job's finalizers": _job({"metadata": {"finalizers": None}}),
    "disown the Job": _job({"metadata": {"ownerReferences": None}}),
    "unlabel the Job": [("label", "job/{job}", "app.kubernetes.io/managed-by-")],
    "delete the Job": [("delete", "job/{job}", "--wait=false")],
    "orphan its pods": [("delete", "job/{job}", "--wait=false", "--cascade=orphan")],
    "raise the grant": [("annotate", *PODS, "--overwrite", f"comptroller.dev/lease-seconds={_LONG}")],
    "unlabel the pods": [("label", *PODS, "app.kubernetes.io/managed-by-")],
    "strip the pods' finalizers": [("patch", "pod/{pod}", *MERGE, FREE)],
    "delete the pods": [("delete", *PODS, *NOW)],
    "delete all of it": [
        ("patch", "job/{job}", *MERGE, FREE),
        ("patch", "pod/{pod}", *MERGE, FREE),
        ("delete", "job/{job}", "--wait=false"),
        ("delete", "pod/{pod}", *NOW),
    ],
}
"""Commands on an attempt's Job and its pods that the chart's policies refuse."""

OTHERS: dict[str, list[Words]] = {
    "relabel the study": [("label", "study/{study}", "--overwrite", "team={random}")],
    "terminate the trainer": [("exec", "{pod}", "--", "python", "-c", "import os; os.kill(1, 15)")],
    "take the next attempt's name": [("create", "-f", "-")],
}
"""Commands that a tenant may run with or without policies."""


@dataclass
class Tenant:
    """A source of random tampering; it counts for each kind the accepted, refused and missed commands."""

    cluster: RealCluster
    image: str
    rng: random.Random
    record: Callable[[str], None]
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def tamper(self, namespace: str) -> None:
        """Tamper with one attempt, if there is one."""
        jobs = self._items(namespace, "jobs", "-l", _OURS)
        if not jobs:
            return
        job = self.rng.choice(jobs)
        name = job["metadata"]["name"]
        pods = self._items(namespace, "pods", "-l", f"job-name={name}")
        names = {
            "{job}": name,
            "{pod}": pods[0]["metadata"]["name"] if pods else "none",
            "{study}": name.rsplit("-", 3)[0],
            "{random}": str(self.rng.random()),
        }
        kind = self.rng.choice([*MANAGED, *OTHERS])
        for command in (MANAGED | OTHERS)[kind]:
            words = [_filled(word, names) for word in command]
            stdin = json.dumps(intruder(name, self.image)) if words[0] == "create" else None
            outcome, message = self._do(namespace, words, stdin)
            if outcome == "accepted" and words[0] == "delete" and not self._is_kept(namespace, name):
                outcome = LET_GO
            self.counts[kind, outcome] += 1
            self.record(f"tenant, {kind}, {namespace}/{name}: {outcome} {message[:200]}".rstrip())

    def is_refused(self, namespace: str) -> bool:
        """Return whether a policy refuses an object that imitates the operator's."""
        body = intruder("probe-0", self.image)
        body["metadata"]["labels"] = dict([_OURS.split("=")])
        return self._do(namespace, ["create", "--dry-run=server", "-f", "-"], json.dumps(body))[0] == REFUSED

    def _is_kept(self, namespace: str, job: str) -> bool:
        """Return whether the operator still keeps an attempt's Job or a pod, or a pod still runs."""
        found = self._items(namespace, "jobs,pods", "-l", f"batch.kubernetes.io/job-name={job}")
        jobs = [one for one in self._items(namespace, "jobs") if one["metadata"]["name"] == job]
        return any(
            _KEPT in one["metadata"].get("finalizers", []) or one["status"].get("phase") == "Running"
            for one in [*found, *jobs]
        )

    def _items(self, namespace: str, *words: str) -> list[Body]:
        found = self.cluster.kubectl(*_AS, "-n", namespace, "get", *words, "-o", "json", check=False)
        return json.loads(found)["items"] if found else []

    def _do(self, namespace: str, words: list[str], stdin: str | None) -> tuple[str, str]:
        """Return the outcome, and the API server's answer if it refused."""
        try:
            answer = self.cluster.kubectl(*_AS, "-n", namespace, "--request-timeout=10s", *words, stdin=stdin)
        except AssertionError as error:
            message = str(error).replace("\n", " ")
            if refusal := _REFUSAL.search(message):
                return REFUSED, refusal[0]
            return ("missed", "") if _GONE.search(message) else ("invalid", message)
        # `kubectl delete -l` succeeds, and prints a note, if it finds nothing.
        return ("accepted", "") if answer.strip() and not _GONE.search(answer) else ("missed", "")


def _filled(word: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        word = word.replace(name, value)
    return word


def intruder(job: str, image: str) -> Body:
    """Return a Job under the name of the attempt after `job`'s, as if it were an attempt."""
    front, _, number = job.rpartition("-")
    resources = {"cpu": "100m", "memory": "64Mi"}
    container = {
        "name": INTRUDER,
        "image": image,
        "command": ["python", "-c", "import time; time.sleep(20)"],
        "resources": {"requests": resources, "limits": resources},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{front}-{int(number) + 1}"},
        "spec": {
            "backoffLimit": 0,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }
