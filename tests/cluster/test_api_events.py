"""Only Kubernetes' own controllers write and delete the events that are evidence of a pod nobody saw."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from support.apiserver import ApiServer
from support.policies import (
    ADMIN,
    CONTROLLERS,
    CORE,
    NAME,
    NAMESPACE,
    TENANT,
    WIDE,
    Body,
    accepted,
    ask,
    at,
    notes,
    refused,
    settled,
)

EVENTS = "/apis/events.k8s.io/v1"
BOTH = pytest.mark.parametrize("api", [CORE, EVENTS])
REASONS = pytest.mark.parametrize("reason", ["SuccessfulCreate", "FailedCreate"])
JOB_CONTROLLER, NAMESPACES = f"{CONTROLLERS}:job-controller", f"{CONTROLLERS}:namespace-controller"
UID = "8a3c1f6e-52d7-4b0e-9f7a-0d6c1b2e3f40"
ABOUT_JOB = f"of Job '{NAME}' is Comptroller's evidence of its pods, and only Kubernetes' controllers may"
WRITE, DELETE = f"{ABOUT_JOB} write it", f"{ABOUT_JOB} delete it"
MADE = {"message": f"Created pod: {NAME}-abcde"}


def regarded(kind: str = "Job", name: str = NAME, uid: str = UID) -> Body:
    return {"kind": kind, "namespace": NAMESPACE, "name": name, "uid": uid}


def event(reason: str, about: Body | None = None, *, api: str = CORE, name: str = "b.1") -> Body:
    """Return an event in the form of an API group, as a controller writes it."""
    meta = {"name": name, "namespace": NAMESPACE}
    about, kind = regarded() if about is None else about, {"kind": "Event", "metadata": meta}
    if api == CORE:
        stamps = dict.fromkeys(("firstTimestamp", "lastTimestamp"), "2030-01-01T00:00:00Z")
        return {"apiVersion": "v1", **kind, "involvedObject": about, "reason": reason, **stamps, **MADE}
    by = {"reportingController": "job-controller", "reportingInstance": "a", "action": "Create"}
    stamp = {"eventTime": "2030-01-01T00:00:00.000000Z", "type": "Normal"}
    return {"apiVersion": "events.k8s.io/v1", **kind, "regarding": about, "reason": reason, **by, **stamp}


@contextmanager
def stored(api_server: ApiServer, user: str, body: Body) -> Iterator[str]:
    """Write an event as a user, and give its name until it is removed."""
    accepted(settled(api_server, user, "POST", at(CORE, "events"), body))
    accepted(ask(api_server, user, "POST", at(CORE, "events"), body, dry=False))
    name = str(body["metadata"]["name"])
    try:
        yield name
    finally:
        accepted(ask(api_server, ADMIN, "DELETE", at(CORE, "events", name), dry=False))


@pytest.fixture(params=["SuccessfulCreate", "FailedCreate"])
def evidence(request: pytest.FixtureRequest, api_server: ApiServer) -> Iterator[str]:
    """Give the name of an event that the Job controller wrote about an attempt."""
    request.getfixturevalue("policed")
    with stored(api_server, JOB_CONTROLLER, event(request.param, name=f"{NAME}.1")) as name:
        yield name


@pytest.fixture
def own(request: pytest.FixtureRequest, api_server: ApiServer) -> Iterator[str]:
    """Give the name of a tenant's event, which has the fields of evidence but for its reason."""
    request.getfixturevalue("policed")
    with stored(api_server, TENANT, event("Reconciled", name="own.1")) as name:
        yield name


@BOTH
@REASONS
@pytest.mark.usefixtures("policed")
def test_a_tenant_cannot_forge_the_evidence_of_a_pod(api_server: ApiServer, api: str, reason: str) -> None:
    user = TENANT if api == CORE else WIDE
    sentence = refused(api_server, user, "POST", at(api, "events"), event(reason, api=api))
    assert f"Event 'b.1' with reason {reason} {WRITE}" in sentence


def test_a_tenant_cannot_delete_the_evidence_of_a_pod(api_server: ApiServer, evidence: str) -> None:
    for user, where in (
        (TENANT, at(CORE, "events", evidence)),
        (TENANT, at(CORE, "events")),
        (WIDE, at(EVENTS, "events", evidence)),
        (WIDE, at(EVENTS, "events")),
    ):
        sentence = refused(api_server, user, "DELETE", where)
        assert DELETE in sentence
        assert "--field-selector reason!=SuccessfulCreate,reason!=FailedCreate" in sentence


def test_a_tenant_cannot_change_the_evidence_of_a_pod(api_server: ApiServer, evidence: str) -> None:
    for patch in ({"message": "Created pod: other"}, {"reason": "Other"}, notes(a="b"),
                  {"involvedObject": regarded(name="other")}):  # fmt: skip
        assert WRITE in refused(api_server, TENANT, "PATCH", at(CORE, "events", evidence), patch)
    assert WRITE in refused(api_server, WIDE, "PATCH", at(EVENTS, "events", evidence), notes(a="b"))


@REASONS
def test_an_event_does_not_become_evidence(api_server: ApiServer, own: str, reason: str) -> None:
    where = at(CORE, "events", own)
    assert WRITE in refused(api_server, TENANT, "PATCH", where, {"reason": reason})


def test_kubernetes_own_controllers_and_administrators_write_and_delete_evidence(
    api_server: ApiServer, evidence: str
) -> None:
    where = at(CORE, "events", evidence)
    accepted(ask(api_server, JOB_CONTROLLER, "PATCH", where, {"count": 2}))
    for user in (NAMESPACES, ADMIN):
        accepted(ask(api_server, user, "DELETE", where))
        accepted(ask(api_server, user, "DELETE", at(CORE, "events")))
        accepted(ask(api_server, user, "DELETE", at(EVENTS, "events")))
    accepted(ask(api_server, ADMIN, "POST", at(CORE, "events"), event("SuccessfulCreate")))
    accepted(ask(api_server, ADMIN, "PATCH", where, {"message": "Created pod: other"}))


@REASONS
@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize(
    ("controller", "about"),
    [
        ("replicaset-controller", regarded("ReplicaSet", "web-1234abcd56")),
        ("cronjob-controller", regarded("CronJob", "backup")),
        ("statefulset-controller", regarded("StatefulSet", "web")),
        ("job-controller", regarded("Job", "backup-29384756")),
    ],
)
def test_other_controllers_events_are_written_and_deleted_as_before(
    api_server: ApiServer, controller: str, about: Body, reason: str
) -> None:
    with stored(api_server, f"{CONTROLLERS}:{controller}", event(reason, about, name="other.1")) as name:
        accepted(ask(api_server, TENANT, "PATCH", at(CORE, "events", name), {"count": 2}))
        accepted(ask(api_server, TENANT, "DELETE", at(CORE, "events", name)))
        accepted(ask(api_server, TENANT, "DELETE", at(CORE, "events")))


@BOTH
@pytest.mark.usefixtures("policed")
def test_a_tenant_writes_events_that_are_no_evidence(api_server: ApiServer, api: str) -> None:
    user = TENANT if api == CORE else WIDE
    for reason, about in (
        ("SuccessfulDelete", regarded()),
        ("Completed", regarded()),
        ("BackOff", regarded("Pod", f"{NAME}-abcde")),
        ("SuccessfulCreate", regarded("ReplicaSet", "web")),
        ("FailedCreate", regarded(name="backup")),
    ):
        accepted(settled(api_server, user, "POST", at(api, "events"), event(reason, about, api=api)))


def test_a_tenant_deletes_own_events(api_server: ApiServer, own: str) -> None:
    accepted(ask(api_server, TENANT, "PATCH", at(CORE, "events", own), {"count": 2}))
    accepted(ask(api_server, TENANT, "DELETE", at(CORE, "events", own)))
