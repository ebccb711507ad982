"""Only the operator and Kubernetes' own controllers change the operator's objects."""

import pytest

from comptroller.cluster import jobs
from comptroller_api.contract import GRANT_ANNOTATION
from comptroller_api.meta import FINALIZER
from support import manifests
from support.apiserver import ApiServer
from support.policies import (
    ADMIN,
    AGENT,
    BATCH,
    CONTROLLERS,
    CORE,
    JOB,
    LABEL,
    LABELLED,
    NAME,
    OURS,
    POD,
    TENANT,
    UNFINALIZED,
    UNLABELLED,
    WIDE,
    WORKLOADS,
    Body,
    accepted,
    anchor,
    ask,
    at,
    job,
    notes,
    owner,
    pod,
    refusal,
    refused,
    settled,
    spec,
    study,
    template,
    trial,
    workload,
)

_MANAGED = "is managed by Comptroller, and only its operator may"
CHANGE = f"{_MANAGED} change it: use 'comptroller stop' or 'comptroller resume', edit the Study, or delete"
DELETE = f"{_MANAGED} delete it: use 'comptroller stop' or 'comptroller resume', edit the Study, or delete"
TAMPERINGS: dict[str, tuple[str, str, Body | None, str]] = {
    "the Job's deadline is raised": ("PATCH", JOB, spec(activeDeadlineSeconds=21600), CHANGE),
    "the Job's deadline is taken away": ("PATCH", JOB, spec(activeDeadlineSeconds=None), CHANGE),
    "the guard is granted more": ("PATCH", POD, notes(**{GRANT_ANNOTATION: "21600"}), CHANGE),
    "a stop is pretended": ("PATCH", JOB, notes(**{jobs.STOP: "Suspended"}), CHANGE),
    "the Job is suspended": ("PATCH", JOB, spec(suspend=True), CHANGE),
    "the Job is resumed": ("PATCH", JOB, spec(suspend=False, parallelism=2), CHANGE),
    "no parallelism": ("PATCH", JOB, spec(parallelism=0), CHANGE),
    "the Job's finalizer is stripped": ("PATCH", JOB, UNFINALIZED, CHANGE),
    "the pod's finalizer is stripped": ("PATCH", POD, UNFINALIZED, CHANGE),
    "the Job is deleted": ("DELETE", JOB, None, DELETE),
    "the pod is deleted": ("DELETE", POD, None, DELETE),
    "the pod is deleted at once": ("DELETE", POD, {"gracePeriodSeconds": 0}, DELETE),
    "all Jobs are deleted": ("DELETE", at(BATCH, "jobs"), None, DELETE),
    "all pods are deleted": ("DELETE", at(CORE, "pods"), None, DELETE),
    "the Job is unlabelled": ("PATCH", JOB, UNLABELLED, CHANGE),
    "the pod is unlabelled": ("PATCH", POD, UNLABELLED, CHANGE),
    "the pod gets another image": (
        "PATCH",
        POD,
        spec(containers=[{"name": "trainer", "image": "x"}]),
        CHANGE,
    ),
    "the head of the ledger is changed": (
        "PATCH",
        at(CORE, "configmaps", "comptroller-anchor"),
        {"data": {"head": "9"}},
        "it holds the head of a namespace's ledger",
    ),
    "the head of the ledger is deleted": (
        "DELETE",
        at(CORE, "configmaps", "comptroller-anchor"),
        None,
        "it holds the head of a namespace's ledger",
    ),
    "another head is made": (
        "POST",
        at(CORE, "configmaps"),
        manifests.change(anchor(), {"metadata.name": "b"}),
        LABEL,
    ),
    "an own pod is labelled": ("PATCH", at(CORE, "pods", "own"), LABELLED, LABEL),
    "an own Job is labelled": ("PATCH", at(BATCH, "jobs", "own"), LABELLED, LABEL),
    "a Job in an attempt's place": ("POST", at(BATCH, "jobs"), job("digits-0123abcd-0002-0"), LABEL),
    "a pod with the label": ("POST", at(CORE, "pods"), pod("b", template(jobs.MANAGED)), LABEL),
    "the pod is evicted": (
        "POST",
        f"{POD}/eviction",
        {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": f"{NAME}-abcde"}},
        "only its operator and those who drain nodes may evict it: use 'comptroller stop'",
    ),
    "the study's finalizer is stripped": (
        "PATCH",
        at(OURS, "studies", study()["metadata"]["name"]),
        UNFINALIZED,
        "comptroller.dev/ledger keeps Study",
    ),
}
"""The object, the change, and a part of the sentence with which a tenant is refused."""


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize("user", [TENANT, WIDE])
@pytest.mark.parametrize("what", TAMPERINGS)
def test_a_tenant_cannot_tamper(api_server: ApiServer, what: str, user: str) -> None:
    method, where, body, sentence = TAMPERINGS[what]
    assert sentence in refused(api_server, user, method, where, body)


OVER = {
    "conditions": [
        {"type": kind, "status": "True", "lastTransitionTime": "2030-01-01T00:00:00Z"}
        for kind in ("FailureTarget", "Failed")
    ],
    "startTime": "2030-01-01T00:00:00Z",
}
AT_ONCE = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
LEFT = {
    "a Job": (job("digits-0123abcd-0009-0"), at(BATCH, "jobs"), OVER),
    "a pod": (
        pod("digits-0123abcd-0009-0-abcde", job()["spec"]["template"]),
        at(CORE, "pods"),
        {"phase": "Failed"},
    ),
}


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize("what", LEFT)
def test_a_tenant_may_delete_and_not_change_what_has_ended_and_is_let_go(
    api_server: ApiServer, what: str
) -> None:
    body, where, over = LEFT[what]
    one = f"{where}/{body['metadata']['name']}"
    accepted(ask(api_server, ADMIN, "POST", where, body, dry=False))
    try:
        assert "once it has ended and its books are closed" in refused(api_server, TENANT, "DELETE", one)
        accepted(ask(api_server, ADMIN, "PATCH", f"{one}/status", {"status": over}, dry=False))
        assert DELETE in refused(api_server, TENANT, "DELETE", one)  # its books are not closed
        accepted(ask(api_server, ADMIN, "PATCH", one, UNFINALIZED, dry=False))
        accepted(ask(api_server, TENANT, "DELETE", one))
        assert CHANGE in refused(api_server, TENANT, "PATCH", one, notes(a="b"))
        assert CHANGE in refused(api_server, TENANT, "PATCH", one, UNLABELLED)
    finally:
        ask(api_server, ADMIN, "PATCH", one, UNFINALIZED, dry=False)
        ask(api_server, ADMIN, "DELETE", one, AT_ONCE, dry=False)


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize("what", LEFT)
def test_what_runs_is_kept_also_without_a_finalizer(api_server: ApiServer, what: str) -> None:
    body, where, _ = LEFT[what]
    one = f"{where}/{body['metadata']['name']}"
    accepted(ask(api_server, ADMIN, "POST", where, body, dry=False))
    accepted(ask(api_server, ADMIN, "PATCH", one, UNFINALIZED, dry=False))
    try:
        assert DELETE in refused(api_server, TENANT, "DELETE", one)
    finally:
        ask(api_server, ADMIN, "DELETE", one, AT_ONCE, dry=False)


@pytest.mark.usefixtures("policed")
def test_a_trial_that_its_study_left_is_an_editors_to_delete_and_not_to_change(
    api_server: ApiServer,
) -> None:
    left = at(OURS, "trials", "left")
    accepted(ask(api_server, ADMIN, "POST", at(OURS, "trials"), trial("left", owned=False), dry=False))
    try:
        accepted(settled(api_server, TENANT, "DELETE", left))
        assert "is Comptroller's record" in refused(api_server, WIDE, "PATCH", left, notes(a="b"))
        owned = at(OURS, "trials", trial()["metadata"]["name"])
        assert "is Comptroller's record" in refused(api_server, TENANT, "DELETE", owned)
    finally:
        accepted(ask(api_server, ADMIN, "DELETE", left, dry=False))


BEYOND: dict[str, tuple[str, str, Body | None, str]] = {
    "the pod's status": ("PATCH", f"{POD}/status", {"status": {"phase": "Succeeded"}}, CHANGE),
    "the Job's status": ("PATCH", f"{JOB}/status", {"status": {"succeeded": 1}}, CHANGE),
    "a container next to the trainer": (
        "PATCH",
        f"{POD}/ephemeralcontainers",
        spec(ephemeralContainers=[{"name": "e", "image": "x"}]),
        CHANGE,
    ),
    "a larger pod": (
        "PATCH",
        f"{POD}/resize",
        spec(
            containers=[{"name": "trainer", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}}]
        ),
        CHANGE,
    ),
    "the Study's status": (
        "PATCH",
        at(OURS, "studies", study()["metadata"]["name"]) + "/status",
        {"status": {"spent": "0"}},
        "the status of Study",
    ),
    "a Trial": (
        "POST",
        at(OURS, "trials"),
        manifests.change(trial(), {"metadata.name": "b"}),
        "is Comptroller's record, and only its operator writes it: edit or delete the Study",
    ),
    "the Trial's parameters": (
        "PATCH",
        at(OURS, "trials", trial()["metadata"]["name"]),
        notes(a="b"),
        "is Comptroller's record",
    ),
    "the Trial is deleted": (
        "DELETE",
        at(OURS, "trials", trial()["metadata"]["name"]),
        None,
        "is Comptroller's record",
    ),
    "the Trial's status": (
        "PATCH",
        at(OURS, "trials", trial()["metadata"]["name"]) + "/status",
        {"status": {"outcome": "Succeeded"}},
        "is Comptroller's record",
    ),
}


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize("what", BEYOND)
def test_neither_can_one_with_a_wider_role(api_server: ApiServer, what: str) -> None:
    method, where, body, sentence = BEYOND[what]
    assert sentence in refused(api_server, WIDE, method, where, body)


@pytest.mark.usefixtures("policed")
def test_nothing_is_started_in_a_trainer_pod(api_server: ApiServer) -> None:
    sentence = refused(api_server, TENANT, "POST", f"{POD}/exec?command=sh")
    assert "could stop the guard of its lease: read its logs" in sentence
    assert refusal(ask(api_server, TENANT, "POST", at(CORE, "pods", "own") + "/exec?command=sh")) is None
    assert refusal(ask(api_server, ADMIN, "POST", f"{POD}/exec?command=sh")) is None


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize("kind", WORKLOADS)
def test_no_controller_is_made_to_make_a_managed_pod(api_server: ApiServer, kind: str) -> None:
    where, body = workload(kind, template(jobs.MANAGED | {"app": "own"}))
    sentence = refused(api_server, TENANT, "POST", where, body)
    assert f"the template of this {kind} has the label app.kubernetes.io/managed-by=comptroller" in sentence
    accepted(ask(api_server, TENANT, "POST", *workload(kind, template())))


@pytest.mark.usefixtures("policed")
def test_no_template_is_kept_with_the_label(api_server: ApiServer) -> None:
    meta = {"name": "b"}
    body = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": meta, "template": template(jobs.MANAGED)}
    assert "this PodTemplate has" in refused(api_server, WIDE, "POST", at(CORE, "podtemplates"), body)
    where, cron = workload("CronJob", template())
    cron["spec"]["jobTemplate"]["metadata"] = {"labels": jobs.MANAGED}
    assert "this CronJob has" in refused(api_server, TENANT, "POST", where, cron)


@pytest.mark.usefixtures("policed")
def test_the_names_of_attempts_are_the_operators(api_server: ApiServer) -> None:
    where, body = workload("Job", template())
    body["metadata"]["name"] = "digits-0123abcd-0002-0"
    sentence = refused(api_server, TENANT, "POST", where, body)
    assert "'digits-0123abcd-0002-0' is how Comptroller names the Jobs of a Study's attempts" in sentence
    for name in ("backup-29384756", "digits-0123abcd-02-0"):  # for a CronJob
        body["metadata"]["name"] = name
        accepted(ask(api_server, TENANT, "POST", where, body))


@pytest.mark.usefixtures("policed")
def test_a_managed_job_owns_no_pod_of_a_tenants(api_server: ApiServer) -> None:
    sentence = refused(api_server, TENANT, "POST", at(CORE, "pods"), pod("b", template(), of_job=NAME))
    assert "may own only the pods that Kubernetes makes for it" in sentence
    patch = {"metadata": {"ownerReferences": [owner(NAME)]}}
    assert "metadata.ownerReferences" in refused(api_server, TENANT, "PATCH", at(CORE, "pods", "own"), patch)


UID = "8a3c1f6e-52d7-4b0e-9f7a-0d6c1b2e3f40"
CLAIMS = {
    "batch.kubernetes.io/controller-uid": UID,
    "controller-uid": UID,
    "batch.kubernetes.io/job-name": NAME,
    "job-name": NAME,
}
"""The labels by which a Job finds its pods, as the Job controller sets them."""


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize("label", CLAIMS)
@pytest.mark.parametrize("user", [TENANT, WIDE, f"{CONTROLLERS}:replicaset-controller"])
def test_a_managed_job_adopts_no_pod_of_a_tenants(api_server: ApiServer, label: str, user: str) -> None:
    claim = {label: CLAIMS[label]}
    sentence = refused(api_server, user, "POST", at(CORE, "pods"), pod("b", template(claim)))
    assert f"the label {label} is set by Kubernetes' Job controller alone" in sentence
    assert "leave it off this Pod" in sentence
    # As a ReplicaSet leaves it, when it is deleted with --cascade=orphan, or a Job of another name.
    owned = pod("b", template(claim))
    for kind, name in (("ReplicaSet", "web"), ("Job", "own")):
        owned["metadata"]["ownerReferences"] = [owner(name) | {"kind": kind}]
        assert label in refused(api_server, user, "POST", at(CORE, "pods"), owned)


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize("label", CLAIMS)
def test_a_tenants_pod_is_not_relabelled_for_a_managed_job(api_server: ApiServer, label: str) -> None:
    own, patch = at(CORE, "pods", "own"), {"metadata": {"labels": {label: CLAIMS[label]}}}
    assert label in refused(api_server, TENANT, "PATCH", own, patch)
    assert label in refused(api_server, WIDE, "PATCH", f"{own}/status", patch)
    accepted(ask(api_server, ADMIN, "PATCH", own, patch))
    accepted(ask(api_server, f"{CONTROLLERS}:job-controller", "PATCH", own, patch))


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize("kind", [*WORKLOADS, "PodTemplate"])
@pytest.mark.parametrize("label", CLAIMS)
def test_no_controller_is_made_to_make_a_pod_for_a_managed_job(
    api_server: ApiServer, kind: str, label: str
) -> None:
    of = template({"app": "own", label: CLAIMS[label]})
    if kind == "PodTemplate":
        body: Body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "b"}, "template": of}
        where = at(CORE, "podtemplates")
    else:
        where, body = workload(kind, of)
    if kind == "Job":
        body["spec"] |= {"manualSelector": True, "selector": {"matchLabels": {"app": "own"}}}
    sentence = refused(api_server, WIDE, "POST", where, body)
    assert f"the label {label} is set by Kubernetes' Job controller alone" in sentence
    assert f"leave it off the template of this {kind}" in sentence


@pytest.mark.usefixtures("policed")
def test_the_pods_of_a_tenants_own_jobs_are_left_alone(api_server: ApiServer) -> None:
    one = at(BATCH, "jobs", "own")
    made = accepted(ask(api_server, ADMIN, "GET", one))["spec"]["template"]
    assert made["metadata"]["labels"].keys() >= CLAIMS.keys()
    body = pod("own-abcde", made, of_job="own")
    accepted(ask(api_server, f"{CONTROLLERS}:job-controller", "POST", at(CORE, "pods"), body, dry=False))
    where = at(CORE, "pods", "own-abcde")
    try:
        for patch in (notes(a="b"), {"metadata": {"labels": {"team": "x"}}},
                      {"metadata": {"labels": dict.fromkeys(CLAIMS)}}):  # fmt: skip
            accepted(ask(api_server, TENANT, "PATCH", where, patch))
        accepted(ask(api_server, AGENT, "PATCH", f"{where}/status", {"status": {"phase": "Running"}}))
        accepted(ask(api_server, TENANT, "DELETE", where))
        accepted(ask(api_server, TENANT, "PATCH", one, {"metadata": {"labels": {"team": "x"}}}))
    finally:
        ask(api_server, ADMIN, "DELETE", where, AT_ONCE, dry=False)


@pytest.mark.usefixtures("policed")
def test_labels_that_no_managed_job_can_have_are_left_alone(api_server: ApiServer) -> None:
    labels = {
        "controller-uid": "blue",
        "job-name": "backup",
        "batch.kubernetes.io/job-name": "backup-29384756",
    }
    accepted(ask(api_server, TENANT, "POST", at(CORE, "pods"), pod("b", template(labels))))
    accepted(ask(api_server, TENANT, "PATCH", at(CORE, "pods", "own"), {"metadata": {"labels": labels}}))
    accepted(ask(api_server, TENANT, "POST", *workload("Deployment", template(labels | {"app": "own"}))))


@pytest.mark.usefixtures("policed")
def test_a_workload_from_before_the_policy_is_scaled_as_before(api_server: ApiServer) -> None:
    where, body = workload("Deployment", template(CLAIMS | {"app": "own"}))
    accepted(ask(api_server, ADMIN, "POST", where, body, dry=False))
    one, scaled = f"{where}/{body['metadata']['name']}", {"spec": {"replicas": 3}}
    try:
        accepted(ask(api_server, TENANT, "PATCH", one, scaled))
        stored = accepted(ask(api_server, ADMIN, "GET", one))
        stored["spec"]["replicas"] = 3
        accepted(ask(api_server, f"{CONTROLLERS}:deployment-controller", "PUT", one, stored))
        other = {"spec": {"template": {"metadata": {"labels": {"controller-uid": UID.replace("8", "9")}}}}}
        assert "controller-uid" in refused(api_server, TENANT, "PATCH", one, other)
    finally:
        ask(api_server, ADMIN, "DELETE", one, AT_ONCE, dry=False)


@pytest.mark.usefixtures("policed")
def test_a_tenant_does_with_its_own_what_it_likes(api_server: ApiServer) -> None:
    own = at(OURS, "studies", study()["metadata"]["name"])
    for method, where, body in (
        ("DELETE", at(CORE, "pods", "own"), None),
        ("PATCH", at(BATCH, "jobs", "own"), spec(activeDeadlineSeconds=21600, suspend=True)),
        ("PATCH", own, {"spec": {"suspend": True}}),
        ("DELETE", own, None),
        ("GET", JOB, None),
        ("GET", f"{POD}/log", None),
    ):
        assert refusal(ask(api_server, TENANT, method, where, body)) is None


CONTROLLED: dict[str, list[tuple[str, str, Body | None]]] = {
    "job-controller": [
        ("POST", at(CORE, "pods"), pod("b", job()["spec"]["template"], of_job=NAME)),
        ("PATCH", POD, {"metadata": {"finalizers": [FINALIZER]}}),
        ("DELETE", POD, None),
    ],
    "generic-garbage-collector": [
        ("PATCH", JOB, {"metadata": {"ownerReferences": None}}),
        ("DELETE", JOB, None),
    ],
    "namespace-controller": [
        ("DELETE", at(BATCH, "jobs"), None),
        ("DELETE", at(CORE, "pods"), None),
        ("DELETE", at(OURS, "trials"), None),
        ("DELETE", at(CORE, "configmaps", "comptroller-anchor"), None),
    ],
    "ttl-after-finished-controller": [("DELETE", JOB, None)],
    "pod-garbage-collector": [
        ("PATCH", f"{POD}/status", {"status": {"phase": "Failed"}}),
        ("DELETE", POD, None),
    ],
    "node-controller": [("PATCH", f"{POD}/status", {"status": {"phase": "Running"}}), ("DELETE", POD, None)],
    "disruption-controller": [("PATCH", f"{POD}/status", {"status": {"phase": "Running"}})],
}


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize("controller", CONTROLLED)
def test_kubernetes_own_controllers_work_on(api_server: ApiServer, controller: str) -> None:
    for method, where, body in CONTROLLED[controller]:
        accepted(ask(api_server, f"{CONTROLLERS}:{controller}", method, where, body))
    status = accepted(ask(api_server, ADMIN, "GET", JOB)) | {"status": {"active": 1}}
    accepted(ask(api_server, f"{CONTROLLERS}:job-controller", "PUT", f"{JOB}/status", status))


@pytest.mark.usefixtures("policed")
def test_the_scheduler_preempts_and_says_why_a_pod_waits(api_server: ApiServer) -> None:
    accepted(
        ask(
            api_server,
            "system:kube-scheduler",
            "PATCH",
            f"{POD}/status",
            {"status": {"nominatedNodeName": "n"}},
        )
    )
    accepted(ask(api_server, "system:kube-scheduler", "DELETE", POD))


@pytest.mark.usefixtures("policed")
def test_an_agent_of_nodes_notes_addresses_and_drains_and_no_more(api_server: ApiServer) -> None:
    accepted(
        settled(api_server, AGENT, "PATCH", POD, notes(**{"cni.projectcalico.org/podIP": "10.0.0.1/32"}))
    )
    accepted(ask(api_server, AGENT, "PATCH", f"{POD}/status", notes(**{"k8s.ovn.org/pod-networks": "{}"})))
    accepted(ask(api_server, AGENT, "DELETE", POD))
    assert (
        refusal(ask(api_server, AGENT, "POST", f"{POD}/eviction", TAMPERINGS["the pod is evicted"][2]))
        is None
    )
    for what in ("the guard is granted more", "the pod's finalizer is stripped", "the pod is unlabelled"):
        method, where, body, sentence = TAMPERINGS[what]
        assert sentence in refused(api_server, AGENT, method, where, body)


@pytest.mark.usefixtures("policed")
@pytest.mark.parametrize("user", [AGENT, ADMIN])
def test_nobody_deletes_a_pod_with_a_grace_period_in_which_it_outlives_its_lease(
    api_server: ApiServer, user: str
) -> None:
    message = refused(api_server, user, "DELETE", POD, {"gracePeriodSeconds": 600})
    assert (
        f"gracePeriodSeconds: 600 would let Pod '{NAME}-abcde' outlive its lease: at most its own" in message
    )
    accepted(ask(api_server, user, "DELETE", POD, {"gracePeriodSeconds": 1}))
    _, _, evict, _ = TAMPERINGS["the pod is evicted"]
    assert evict is not None
    evict = {**evict, "deleteOptions": {"gracePeriodSeconds": 60}}
    message = refused(api_server, user, "POST", f"{POD}/eviction", evict)
    assert "deleteOptions.gracePeriodSeconds: 60 may let Pod" in message
    evict["deleteOptions"] = {"gracePeriodSeconds": 1}
    assert refusal(ask(api_server, user, "POST", f"{POD}/eviction", evict)) is None


@pytest.mark.usefixtures("policed")
def test_an_administrator_has_a_way_in(api_server: ApiServer) -> None:
    for method, where, body, _ in [*TAMPERINGS.values(), *BEYOND.values()]:
        assert refusal(settled(api_server, ADMIN, method, where, body)) is None
    accepted(ask(api_server, ADMIN, "PATCH", JOB, UNFINALIZED))
