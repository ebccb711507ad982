"""Requests under the chart's policies, by users of every kind, and the sentences that refuse them."""

import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import Any

import httpx

from comptroller.cluster import jobs
from comptroller_api.meta import API_VERSION, FINALIZER
from support import manifests
from support.apiserver import ApiServer
from support.attempts import LAUNCH
from support.awaiting import eventually
from support.chart import LEDGER, applied, removed, rendered

CONTROLLERS = "system:serviceaccount:kube-system"
_REFUSED = re.compile(
    r"ValidatingAdmissionPolicy '[^']*' with binding '[^']*' denied request: (.*)", re.DOTALL
)

Body = dict[str, Any]

NAMESPACE, GOVERNED = "policies", "policies-governed"
ALLOWED = "registry.example.com/trainers/"
IMAGE = f"{ALLOWED}one:1"
VALUES = (
    "--set", LEDGER,
    "--set", f"trainer.allowedImages={{{ALLOWED}}}",
    "--set-string", "policies.governed.cpu=4,policies.governed.memory=16Gi",
)  # fmt: skip
TENANT, WIDE, ADMIN, AGENT, LABELLER = "tenant", "wide", "policy-admin", "node-agent", "namespace-admin"
PLATFORM, NAMESPACED = "platform", "namespaced"
CORE, BATCH, APPS = "/api/v1", "/apis/batch/v1", "/apis/apps/v1"
OURS = "/apis/comptroller.dev/v1alpha1"
NAME = "digits-0123abcd-0001-0"
WRITE = ["create", "update", "patch", "delete", "deletecollection", "get", "list"]
UNFINALIZED = {"metadata": {"finalizers": None}}
UNLABELLED = {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}
LABELLED = {"metadata": {"labels": jobs.MANAGED}}
LABEL = "metadata.labels: app.kubernetes.io/managed-by=comptroller is for what Comptroller's operator makes"
"""The beginning of the refusal of the label."""


def ask(
    api_server: ApiServer, user: str, method: str, where: str, body: Body | None = None, *, dry: bool = True
) -> httpx.Response:
    """Make a request as a user, or as `user/group`; nothing changes unless `dry` is false."""
    name, *groups = user.split("/")
    headers = [("Impersonate-User", name), ("Content-Type", _content_type(method, where))]
    headers += [("Impersonate-Group", group) for group in groups]
    query = {"dryRun": "All"} if dry and "/exec?" not in where else {}
    where, _, words = where.partition("?")
    query |= dict(word.split("=", 1) for word in words.split("&") if word)
    content = None if body is None else json.dumps(body)
    return api_server.client.request(method, where, params=query, headers=headers, content=content)


def _content_type(method: str, where: str) -> str:
    """Return the patch that kubectl would send: custom resources have no strategic one."""
    if method != "PATCH":
        return "application/json"
    return f"application/{'' if '/comptroller.dev/' in where else 'strategic-'}merge-patch+json"


def refusal(answer: httpx.Response) -> str | None:
    """Return the sentence of the policy that refused a request, or `None`."""
    if answer.is_success:
        return None
    found = _REFUSED.search(str(answer.json().get("message", "")))
    return found[1] if found else None


def refused(api_server: ApiServer, user: str, method: str, where: str, body: Body | None = None) -> str:
    """Return the sentence that refuses a request; a policy takes a moment to be in force."""
    last: list[str] = []

    def sentence() -> str | None:
        answer = ask(api_server, user, method, where, body)
        last[:] = [f"{answer.status_code} {answer.text[:500]}"]
        return refusal(answer)

    try:
        return str(eventually(sentence, 20, "a policy refuses"))
    except AssertionError as error:
        raise AssertionError(f"{user} {method} {where} was not refused by a policy: {last}") from error


def accepted(answer: httpx.Response) -> Body:
    """Return the object of an answer that is a success."""
    assert answer.is_success, answer.text
    body: Body = answer.json()
    return body


def role(name: str, rules: list[Body], namespace: str | None = None) -> list[Body]:
    """Return a role of a namespace or of the cluster, bound to the user of the same name."""
    scope, meta = ("Role", {"namespace": namespace}) if namespace else ("ClusterRole", {})
    api = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{api}/v1", "kind": scope, "metadata": {"name": name, **meta}, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": f"{scope}Binding",
            "metadata": {"name": name, **meta},
            "roleRef": {"apiGroup": api, "kind": scope, "name": name},
            "subjects": [{"apiGroup": api, "kind": "User", "name": name}],
        },
    ]


def held(name: str, of: str, namespace: str) -> Body:
    """Return a binding of one of Kubernetes' own cluster roles to a user, in a namespace."""
    api = "rbac.authorization.k8s.io"
    return {
        "apiVersion": f"{api}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{name}-{of}".replace(":", "-"), "namespace": namespace},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": of},
        "subjects": [{"apiGroup": api, "kind": "User", "name": name}],
    }


def policies(documents: Iterable[Body]) -> list[Body]:
    """Return the policies, their bindings and the cluster roles among the chart's objects."""
    kinds = ("ValidatingAdmissionPolicy", "ClusterRole")
    return [one for one in documents if one["kind"].startswith(kinds)]


def settled(
    api_server: ApiServer, user: str, method: str, where: str, body: Body | None = None
) -> httpx.Response:
    """Return the answer once the authorizer knows the user's role, which it learns by watching."""
    deadline = time.monotonic() + 20
    while (answer := ask(api_server, user, method, where, body)).status_code == httpx.codes.FORBIDDEN:
        if refusal(answer) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return answer


def at(api: str, resource: str, name: str = "", *, namespace: str = NAMESPACE) -> str:
    return f"{api}/namespaces/{namespace}/{resource}" + (f"/{name}" if name else "")


JOB, POD = at(BATCH, "jobs", NAME), at(CORE, "pods", f"{NAME}-abcde")


def job(name: str = NAME) -> Body:
    """Return the operator's Job for an attempt, without an owner, since nothing collects it here."""
    work = LAUNCH.assignment.model_copy(update={"name": name, "namespace": NAMESPACE})
    body = jobs.job(replace(LAUNCH, assignment=work, image=IMAGE), jobs.PodSettings({}))
    del body["metadata"]["ownerReferences"]
    return body


def pod(name: str, of: Body, of_job: str = "") -> Body:
    """Return a pod of a template, with an owner as the Job controller sets it."""
    metadata = {**deepcopy(of.get("metadata", {})), "name": name}
    if of_job:
        metadata["ownerReferences"] = [owner(of_job)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": deepcopy(of["spec"])}


def owner(name: str) -> Body:
    """Return the reference by which a Job owns its pods."""
    return {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": "1", "controller": True}


def template(
    labels: dict[str, str] | None = None, amounts: dict[str, str] | None = None, **spec: Any
) -> Body:
    container = {"name": "main", "image": IMAGE, "resources": {"limits": amounts or {}}}
    body = {"containers": [container], "restartPolicy": "Never", **spec}
    return {"metadata": {"labels": labels or {"app": "own"}}, "spec": body}


def anchor() -> Body:
    meta = {"name": "comptroller-anchor", "labels": jobs.MANAGED}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"head": "0"}}


def trial(name: str = "", *, owned: bool = True) -> Body:
    """Return a Trial, owned by its study as the operator makes it, or without an owner."""
    changes: Body = {"metadata.namespace": NAMESPACE}
    if name:
        changes["metadata.name"] = name
    if owned:
        changes["metadata.ownerReferences"] = [
            {"apiVersion": API_VERSION, "kind": "Study", "name": "digits", "uid": "1", "controller": True}
        ]
    return manifests.change(manifests.valid("Trial"), changes)


def study(**fields: Any) -> Body:
    changes = {f"spec.runtime.{name}": value for name, value in fields.items()}
    return manifests.change(manifests.valid("Study"), {"metadata.namespace": NAMESPACE, **changes})


_SELECTING = {"selector": {"matchLabels": {"app": "own"}}}
WORKLOADS: dict[str, tuple[str, str, Body]] = {
    "Job": (BATCH, "jobs", {}),
    "CronJob": (BATCH, "cronjobs", {"schedule": "* * * * *"}),
    "Deployment": (APPS, "deployments", _SELECTING),
    "StatefulSet": (APPS, "statefulsets", _SELECTING | {"serviceName": "s"}),
    "DaemonSet": (APPS, "daemonsets", _SELECTING),
    "ReplicaSet": (APPS, "replicasets", _SELECTING),
    "ReplicationController": (CORE, "replicationcontrollers", {"selector": {"app": "own"}}),
}
"""The path of each kind, and its spec in addition to the template."""


def workload(kind: str, of: Body, namespace: str = NAMESPACE) -> tuple[str, Body]:
    """Return the path for creating a workload of a kind, and a workload with a pod template."""
    api, plural, fields = WORKLOADS[kind]
    of = deepcopy(of)
    if kind not in {"Job", "CronJob"}:
        of["spec"]["restartPolicy"] = "Always"
    own = {"jobTemplate": {"spec": {"template": of}}} if kind == "CronJob" else {"template": of}
    version = api.removeprefix("/apis/").removeprefix("/api/")
    meta = {"name": "b", "labels": {"app": "own"}}
    body = {"apiVersion": version, "kind": kind, "metadata": meta, "spec": deepcopy(fields) | own}
    return at(api, plural, namespace=namespace), body


def roles() -> list[Body]:
    """Make a tenant with Kubernetes' edit role, one with all plain verbs, an administrator, a node agent."""
    out: list[Body] = []
    for namespace in (NAMESPACE, GOVERNED):
        # A controller, which does not run here, aggregates `edit` itself.
        parts = ("system:aggregate-to-edit", "system:aggregate-to-view", "comptroller-study-editor")
        out += [held(TENANT, part, namespace) for part in parts]
        out += role(WIDE, [{"apiGroups": ["*"], "resources": ["*"], "verbs": WRITE}], namespace)
    everything = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}
    agents = {"apiGroups": [""], "resources": ["pods", "pods/status"], "verbs": ["patch", "delete"]}
    evictions = {"apiGroups": [""], "resources": ["pods/eviction"], "verbs": ["create"]}
    labels = {"apiGroups": [""], "resources": ["namespaces", "namespaces/status"], "verbs": WRITE}
    out += role(ADMIN, [everything])
    out += role(AGENT, [agents, evictions])
    out += role(LABELLER, [labels])
    # The chart's role, in the whole cluster for one user and in a namespace for another; both may also label.
    for name in (PLATFORM, NAMESPACED):
        out += role(name, [labels, {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": WRITE}])
    team = "comptroller-platform-admin"
    _, everywhere = role(PLATFORM, [])
    everywhere["metadata"]["name"] = everywhere["roleRef"]["name"] = team
    out += [everywhere, held(NAMESPACED, team, NAMESPACE)]
    return out


def spec(**fields: Any) -> Body:
    return {"spec": fields}


def notes(**annotations: str) -> Body:
    return {"metadata": {"annotations": annotations}}


@contextmanager
def installed(api_server: ApiServer) -> Iterator[None]:
    """The chart's policies and roles, a managed Job with its pod, and other objects to tamper with."""
    for name, labels in ((NAMESPACE, {}), (GOVERNED, {"comptroller.dev/governed": "true"})):
        meta = {"name": name, "labels": labels}
        applied(api_server, {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}, dry=False)
    documents = [*policies(rendered(*VALUES)), *roles()]
    own = study()
    own["metadata"]["finalizers"] = [FINALIZER]
    made = [
        (at(BATCH, "jobs"), job()),
        (at(CORE, "pods"), pod(f"{NAME}-abcde", job()["spec"]["template"])),
        (at(CORE, "pods"), pod("own", template())),
        (at(BATCH, "jobs"), {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "own"},
                             "spec": {"template": template()}}),
        (at(CORE, "configmaps"), anchor()),
        (at(OURS, "trials"), trial()),
        (at(OURS, "studies"), own),
    ]  # fmt: skip
    for document in documents:
        applied(api_server, document, dry=False)
    try:
        for where, body in made:
            api_server.client.post(where, json=body).raise_for_status()
        refused(api_server, TENANT, "DELETE", JOB)
        yield
    finally:
        removed(api_server, documents)
        for where, body in made:
            one = f"{where}/{body['metadata']['name']}"
            headers = {"Content-Type": "application/merge-patch+json"}
            api_server.client.patch(one, json={"metadata": {"finalizers": None}}, headers=headers)
            api_server.client.delete(one, params={"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
