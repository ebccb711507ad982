"""The operator's account is restricted to the operator's own actions."""

from typing import Any

import pytest

from comptroller.actions import Bury
from comptroller.cluster import jobs
from comptroller.ledger.names import AttemptKey
from comptroller_api.contract import GRANT_ANNOTATION
from support import manifests
from support.apiserver import ApiServer
from support.chart import OPERATOR
from support.policies import (
    BATCH,
    CORE,
    JOB,
    LABELLED,
    NAMESPACE,
    OURS,
    POD,
    UNFINALIZED,
    accepted,
    at,
    job,
    notes,
    refused,
    settled,
    spec,
    study,
    trial,
)


def changed(**fields: Any) -> dict[str, Any]:
    paths = {f"spec.template.spec.{name.replace('__', '.')}": value for name, value in fields.items()}
    return manifests.change(job("digits-0123abcd-0003-0"), paths)


def unlabelled(body: dict[str, Any], where: str) -> dict[str, Any]:
    return manifests.change(body, {f"{where}.labels": {"app": "x"}})


def container(**fields: Any) -> list[dict[str, Any]]:
    [one] = job()["spec"]["template"]["spec"]["containers"]
    return [{**one, "securityContext": {**one["securityContext"], **fields}}]


STOLEN = {
    "a Job without the label": (
        "POST",
        at(BATCH, "jobs"),
        unlabelled(changed(), "metadata"),
        "may write only what has the label",
    ),
    "a template without the label": (
        "POST",
        at(BATCH, "jobs"),
        unlabelled(changed(), "spec.template.metadata"),
        "spec.template.metadata.labels",
    ),
    "the node's network": ("POST", at(BATCH, "jobs"), changed(hostNetwork=True), "hostNetwork"),
    "the node's processes": ("POST", at(BATCH, "jobs"), changed(hostPID=True), "hostPID"),
    "a node of its choice": ("POST", at(BATCH, "jobs"), changed(nodeName="n"), "nodeName"),
    "the node's files": (
        "POST",
        at(BATCH, "jobs"),
        changed(
            volumes=[
                {"name": "v", "hostPath": {"path": "/"}},
                {"name": "tmp", "emptyDir": {}},
                {"name": "lease", "emptyDir": {}},
            ]
        ),
        "emptyDir or downwardAPI",
    ),
    "a Secret's files": (
        "POST",
        at(BATCH, "jobs"),
        changed(
            volumes=[
                {"name": "v", "secret": {"secretName": "s"}},
                {"name": "tmp", "emptyDir": {}},
                {"name": "lease", "emptyDir": {}},
            ]
        ),
        "emptyDir or downwardAPI",
    ),
    "a token": ("POST", at(BATCH, "jobs"), changed(automountServiceAccountToken=True), "service account"),
    "another account": ("POST", at(BATCH, "jobs"), changed(serviceAccountName="builder"), "service account"),
    "root": ("POST", at(BATCH, "jobs"), changed(securityContext__runAsNonRoot=False), "restricted"),
    "root in a container": (
        "POST",
        at(BATCH, "jobs"),
        changed(containers=container(runAsNonRoot=False)),
        "restricted",
    ),
    "more privileges than its parent": (
        "POST",
        at(BATCH, "jobs"),
        changed(containers=container(allowPrivilegeEscalation=True)),
        "restricted",
    ),
    "capabilities": (
        "POST",
        at(BATCH, "jobs"),
        changed(containers=container(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]})),
        "restricted",
    ),
    "no seccomp": ("POST", at(BATCH, "jobs"), changed(securityContext__seccompProfile=None), "restricted"),
    "a tenant's Job": (
        "PATCH",
        at(BATCH, "jobs", "own"),
        spec(suspend=True),
        "may write only what has the label",
    ),
    "a tenant's pod": (
        "PATCH",
        at(CORE, "pods", "own"),
        spec(containers=[{"name": "main", "image": "x"}]),
        "may write only what has the label",
    ),
    "a tenant's pod, labelled": (
        "PATCH",
        at(CORE, "pods", "own"),
        LABELLED,
        "may write only what has the label",
    ),
    "a pod's image": (
        "PATCH",
        POD,
        spec(containers=[{"name": "trainer", "image": "x"}]),
        "may not change the images",
    ),
    "a ceiling": (
        "PATCH",
        at(OURS, "studies", study()["metadata"]["name"]),
        {"spec": {"ceilings": {"spend": {"amount": "999.00"}}}},
        "neither its spec nor its labels",
    ),
}


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize("what", STOLEN)
def test_the_operators_token_runs_nothing_else(api_server: ApiServer, what: str) -> None:
    method, where, body, sentence = STOLEN[what]
    assert sentence in refused(api_server, OPERATOR, method, where, body)


@pytest.mark.usefixtures("policed")
def test_what_the_operator_does_is_allowed(api_server: ApiServer) -> None:
    tombstone = jobs.tombstone(Bury(AttemptKey("u", 4, 0), "digits-0123abcd-0004-0", "gone", None), NAMESPACE)
    own = at(OURS, "studies", study()["metadata"]["name"])
    for method, where, body in (
        ("POST", at(BATCH, "jobs"), job("digits-0123abcd-0003-0")),
        ("POST", at(BATCH, "jobs"), tombstone),
        ("PATCH", JOB, spec(activeDeadlineSeconds=90)),
        ("PATCH", JOB, UNFINALIZED),
        ("PATCH", POD, notes(**{GRANT_ANNOTATION: "90"})),
        ("PATCH", POD, spec(activeDeadlineSeconds=5)),
        ("PATCH", POD, UNFINALIZED),
        ("PATCH", own, {"metadata": {"finalizers": []}}),
        ("PATCH", f"{own}/status", {"status": {"spent": "1.00"}}),
        ("POST", at(OURS, "trials"), manifests.change(trial(), {"metadata.name": "b"})),
    ):
        accepted(settled(api_server, OPERATOR, method, where, body))
