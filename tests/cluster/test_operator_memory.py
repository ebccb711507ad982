"""A tenant with Kubernetes' edit role cannot decide how much memory the operator uses."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from comptroller.cluster.jobs import ATTEMPT, MANAGED, STUDY, STUDY_UID, TRIAL
from support.awaiting import eventually
from support.realcluster import PROGRAM, OperatorProcess, RealCluster, started_pods, study

MOST = 300
"""The limit in MiB."""
HOSTILE = "localhost/comptroller-hostile:test"
PROGRAM_OF_THE_POD = """
import http.server, json, os, threading, time
import boto3

assignment = json.loads(os.environ["COMPTROLLER_ASSIGNMENT"])
bucket, _, prefix = assignment["artifacts"].removeprefix("s3://").partition("/")

class Endless(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(b'{"a":' * 200_000)
        except OSError:
            pass

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("", 9464), Endless)
threading.Thread(target=server.serve_forever, daemon=True).start()
key = f"{prefix}/attempts/{assignment['attempt']}/report.json"
boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=b"[" * (63 << 20))
time.sleep(25)
with open("/dev/termination-log", "wb") as log:
    log.write("\\x1b[2J\\u202e".encode() * 1024)
"""
"""A server of endless heartbeats, with a report of 63 MiB and a termination message of control characters."""
WORST_LABELS = {f"x{number:05}.example.com/{'n' * 60}": "v" * 63 for number in range(4000)}
"""Labels of about 1 MiB with their managed fields: only etcd limits the number of an object's labels."""
LARGE = 12
"""The number of objects of each kind."""


def worst(kind: str, number: int) -> dict[str, Any]:
    """Return a Job or pod like an attempt's, as large as etcd accepts it; no node will ever run it."""
    place = {STUDY: "s", STUDY_UID: "0123abcd-0000", TRIAL: str(number), ATTEMPT: "0"}
    container = {"name": "trainer", "image": HOSTILE, "env": [{"name": "A", "value": "a" * 200_000}]}
    pod = {"restartPolicy": "Never", "nodeSelector": {"no": "node"}, "containers": [container]}
    meta = {"name": f"worst-{number}", "labels": {**WORST_LABELS, **place, **MANAGED}}
    meta["annotations"] = {"comptroller.dev/note": "n" * 100_000}
    if kind == "Pod":
        return {"apiVersion": "v1", "kind": kind, "metadata": meta, "spec": pod}
    spec = {"suspend": True, "template": {"spec": pod}}
    return {"apiVersion": "batch/v1", "kind": kind, "metadata": meta, "spec": spec}


def send(cluster: RealCluster, namespace: str, bodies: list[dict[str, Any]]) -> None:
    """Create objects as the tenant."""
    where = {"Pod": "/api/v1/{}/pods", "Job": "/apis/batch/v1/{}/jobs"}
    where["Study"] = "/apis/comptroller.dev/v1alpha1/{}/studies"
    for body in bodies:
        path = where[body["kind"]].format(f"namespaces/{namespace}")
        answer = cluster.client.post(path, json=body, headers={"Impersonate-User": "tenant"}, timeout=60)
        assert answer.status_code == httpx.codes.CREATED, answer.text[:500]


@pytest.mark.timeout(900)
def test_the_worst_that_a_tenant_can_send_leaves_the_operator_small(
    cluster: RealCluster, operator: OperatorProcess, record_property: Callable[[str, object], None]
) -> None:
    namespace = operator.namespace
    derive = ("derive", "comptroller-trainer", HOSTILE, "python", "-c", PROGRAM_OF_THE_POD)
    subprocess.run([PROGRAM, *derive], check=True)
    edit = ("create", "rolebinding", "tenant", "--clusterrole=edit", "--user=tenant")
    cluster.kubectl("-n", namespace, *edit)
    rule = "--verb=create", "--resource=studies.comptroller.dev"
    cluster.kubectl("-n", namespace, "create", "role", "studies", *rule)
    cluster.kubectl("-n", namespace, "create", "rolebinding", "studies", "--role=studies", "--user=tenant")
    cluster.apply(
        study(
            "hostile",
            namespace,
            search={"trials": 1, "parallel": 1},
            runtime={"image": HOSTILE, "resources": {"cpu": "200m", "memory": "512Mi"}},
        ),
        study("honest", namespace, search={"trials": 1, "parallel": 1}),
    )
    eventually(lambda: started_pods(cluster, namespace), 240, "a pod runs")
    huge = study("huge", namespace)
    huge["metadata"]["labels"] = WORST_LABELS
    named = [json.loads(json.dumps(huge).replace('"huge"', f'"huge-{n}"')) for n in range(LARGE)]
    jobs_and_pods = [worst(kind, number) for kind in ("Job", "Pod") for number in range(LARGE)]
    send(cluster, namespace, [*named, *jobs_and_pods])
    eventually(lambda: cluster.ended("hostile", namespace), 300, "the hostile study has ended")
    before = operator.peak_mebibytes()
    operator.kill()
    operator.start()  # it lists all of them at once
    eventually(lambda: cluster.complete("honest", namespace), 300, "the honest study is complete")
    eventually(operator.healthy, 60, "the operator is well")
    peaks = before, operator.peak_mebibytes()
    record_property("peaks in MiB, before and after the restart", peaks)
    assert max(peaks) < MOST
    assert cluster.conditions("hostile", namespace)["Failed"]["reason"] == "NoTrialSucceeded"
