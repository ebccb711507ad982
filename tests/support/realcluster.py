"""The real cluster of `hack/cluster`, an operator process on it, and queries of both for tests."""

import contextlib
import json
import os
import shlex
import signal
import ssl
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
from botocore.exceptions import ClientError

from comptroller.ledger.books import Books
from comptroller.ledger.encoding import decode, journal_key
from comptroller.ledger.stores import open_store
from support.apiserver import free_ports

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "hack" / "cluster" / "cluster"
BUCKET = "tests"
LEDGER = f"s3://{BUCKET}/books"
RUN = uuid.uuid4().hex[:6]
"""The ending of the names of this process's namespaces."""
OURS = "comptroller.dev/tests"
"""The label of namespaces that tests made; its value is their `RUN`."""
PRICES = {
    "apiVersion": "comptroller.dev/v1alpha1",
    "kind": "PriceList",
    "metadata": {"name": "tests"},
    "spec": {
        "currency": "USD",
        "asOf": "2026-01-01T00:00:00Z",
        "nodeClasses": [
            {
                "name": "test",
                "nodeSelector": {"kubernetes.io/os": "linux"},
                "onDemand": {"cpu": "4.50", "memoryGiB": "0", "gpu": "0"},
                "cap": {"cpu": "4.50", "memoryGiB": "0", "gpu": "0"},
            }
        ],
    },
}
"""A core costs 0.00125 a second, so the 400m of a trial cost 0.0005."""


_OWN, _CORE = "/apis/comptroller.dev/v1alpha1/namespaces/{}", "/api/v1/namespaces/{}"
_API = {
    **dict.fromkeys(("study", "studies"), f"{_OWN}/studies"),
    **dict.fromkeys(("trial", "trials"), f"{_OWN}/trials"),
    **dict.fromkeys(("job", "jobs"), "/apis/batch/v1/namespaces/{}/jobs"),
    **dict.fromkeys(("pod", "pods"), f"{_CORE}/pods"),
    **dict.fromkeys(("event", "events"), f"{_CORE}/events"),
}
"""The path of each kind."""


@dataclass
class RealCluster:
    """A running cluster, with its kubectl, its API server, its store and its images."""

    images: dict[str, str]
    client: httpx.Client

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl and return its output."""
        done = subprocess.run(
            ["kubectl", *words], input=stdin, text=True, capture_output=True, check=False, timeout=180
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {shlex.join(words)}: {done.stderr or done.stdout}")
        return done.stdout

    def apply(self, *manifests: dict[str, Any]) -> None:
        """Apply objects with `kubectl apply`."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def get(self, what: str, namespace: str) -> Any:
        """Return an object (`job/name`), or the list of all objects of one or several kinds (`jobs,pods`).

        This uses HTTP: tests poll, and each kubectl takes a quarter of a second of a core.
        """
        if "," in what:
            return {
                "items": [item for kind in what.split(",") for item in self.get(kind, namespace)["items"]]
            }
        kind, _, name = what.partition("/")
        try:
            answer = self.client.get(f"{_API[kind]}/{name}".rstrip("/").format(namespace))
        except httpx.TransportError as error:
            raise AssertionError(f"get {what}: {error}") from error
        assert answer.is_success, f"get {what}: {answer.text}"
        return answer.json()

    def close(self) -> None:
        """Close its connections."""
        self.client.close()

    def read(self, uri: str) -> Any:
        """Return the JSON at an S3 address."""
        where = urlsplit(uri)
        body = boto3.client("s3").get_object(Bucket=where.netloc, Key=where.path.lstrip("/"))["Body"]
        return json.loads(body.read())

    def namespace(self, name: str) -> str:
        """Make a namespace with the store's credentials; return its name, which no earlier run had."""
        name = f"{name}-{RUN}"
        keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s3", "namespace": name},
            "stringData": {key: os.environ[key] for key in keys},
        }
        self.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {OURS: RUN}}}
        )
        self.apply(secret)
        return name

    def conditions(self, study: str, namespace: str) -> dict[str, dict[str, str]]:
        """Return a study's conditions by type."""
        status = self.get(f"study/{study}", namespace).get("status", {})
        return {c["type"]: c for c in status.get("conditions", [])}

    def complete(self, study: str, namespace: str) -> bool:
        """Return whether the study is complete."""
        return self.conditions(study, namespace).get("Complete", {}).get("status") == "True"

    def ended(self, study: str, namespace: str) -> bool:
        """Return whether the study is complete or has failed."""
        found = self.conditions(study, namespace)
        return any(found.get(kind, {}).get("status") == "True" for kind in ("Complete", "Failed"))

    def books(self, namespace: str) -> Books:
        """Fold the journal, and check P1 in every prefix."""
        books, store, sequence = Books(), open_store(LEDGER), 0
        while (data := store.get(journal_key(namespace, sequence))) is not None:
            for entry in decode(data).entries:
                assert books.apply(entry) is None, entry
                for name, account in books.accounts.items():
                    assert account.spent + account.held <= account.ceiling, (sequence, name)
            sequence += 1
        assert books.overruns == 0
        return books


def study(name: str, namespace: str, ceiling: str = "100.00", **changes: Any) -> dict[str, Any]:
    """Return a study of four short trials on MNIST-1D."""
    spec: dict[str, Any] = {
        "data": {"uri": "generated:mnist1d", "format": "MNIST1D"},
        "space": {
            "parameters": [
                {"name": "model.width", "type": "Integer", "min": "8", "max": "32"},
                {"name": "recipe.lr", "type": "Float", "min": "0.001", "max": "0.1", "scale": "Log"},
            ]
        },
        "baseline": {
            "model.family": "mlp",
            "model.width": "16",
            "recipe.lr": "0.01",
            "compress.method": "none",
        },
        "objectives": [{"metric": "accuracy"}, {"metric": "artifact_bytes"}],
        "ceilings": {"spend": {"amount": ceiling, "currency": "USD"}},
        "search": {"engine": "Random", "trials": 4, "parallel": 2, "rungs": {"epochs": [2]}},
        "runtime": {
            "nodeClass": "test",
            "resources": {"cpu": "400m", "memory": "1Gi"},
            "lease": {"duration": "60s", "gracePeriod": "15s", "slack": "15s"},
        },
        "artifacts": {"uri": f"s3://{BUCKET}/artifacts", "credentialsSecret": "s3"},
    }
    for name_of, value in changes.items():
        spec[name_of] = {**spec.get(name_of, {}), **value} if isinstance(value, dict) else value
    return {
        "apiVersion": "comptroller.dev/v1alpha1",
        "kind": "Study",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def outcomes(cluster: RealCluster, namespace: str) -> dict[int, str]:
    """Return each trial's outcome."""
    trials = cluster.get("trials", namespace)["items"]
    return {t["spec"]["number"]: t.get("status", {}).get("outcome", "") for t in trials}


def running_pods(cluster: RealCluster, namespace: str) -> list[str]:
    """Return the names of pods that have not ended."""
    pods = cluster.get("pods", namespace)["items"]
    return [p["metadata"]["name"] for p in pods if p["status"].get("phase") in {"Pending", "Running"}]


def started_pods(cluster: RealCluster, namespace: str) -> list[str]:
    """Return the names of pods whose containers run: they have a node, and continue without an API server."""
    pods = cluster.get("pods", namespace)["items"]
    return [p["metadata"]["name"] for p in pods if p["status"].get("phase") == "Running"]


def phases(cluster: RealCluster, namespace: str) -> list[str]:
    """Return the stages in the heartbeats of running pods."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    paths = [f"{pods}/{pod}:9464/proxy/heartbeat" for pod in started_pods(cluster, namespace)]
    answers = [cluster.kubectl("get", "--raw", path, check=False) for path in paths]
    return [json.loads(answer)["phase"] for answer in answers if answer]


def prepare() -> None:
    """Start the cluster unless it runs, with the CRDs, a price list and an empty bucket.

    The cluster keeps running, for the next run.
    """
    subprocess.run([PROGRAM, "up", "--images"], check=True, stdout=sys.stderr)
    with contextlib.closing(connect()) as cluster:
        _prepare(cluster)


def _prepare(cluster: RealCluster) -> None:
    # The demo's operator would keep its own books of the same studies.
    cluster.kubectl(
        "-n", "comptroller-system", "scale", "deployment/comptroller", "--replicas=0", check=False
    )
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    cluster.apply(PRICES)
    store = boto3.client("s3")
    with contextlib.suppress(ClientError):
        store.create_bucket(Bucket=BUCKET)
    remove_namespaces(cluster, OURS)  # of an interrupted run, whose pods would use this run's cores
    _forget(store)


def connect() -> RealCluster:
    """Put the running cluster's programs and credentials into the environment, and return the cluster."""
    for line in subprocess.run(
        [PROGRAM, "env"], check=True, text=True, capture_output=True
    ).stdout.splitlines():
        name, value = line.removeprefix("export ").split("=", 1)
        os.environ[name] = os.path.expandvars("".join(shlex.split(value)))
    state = Path(os.environ["KUBECONFIG"]).parent
    trust = ssl.create_default_context(cafile=state / "pki" / "ca.crt")
    trust.load_cert_chain(state / "pki" / "admin.crt", state / "pki" / "admin.key")
    (server,) = json.loads((state / "admin.kubeconfig").read_text())["clusters"]
    return RealCluster(
        json.loads((state / "images.json").read_text()),
        httpx.Client(base_url=server["cluster"]["server"], verify=trust, timeout=30, trust_env=False),
    )


def remove_namespaces(cluster: RealCluster, selector: str = f"{OURS}={RUN}") -> None:
    """Delete everything that tests made, even without an operator to settle it."""
    found = json.loads(cluster.kubectl("get", "namespaces", "-l", selector, "-o", "json"))["items"]
    names = [body["metadata"]["name"] for body in found]
    for name in names:
        cluster.kubectl("delete", "namespace", name, "--wait=false", check=False)
        for finalized in ("studies", "jobs", "pods"):
            for body in cluster.get(finalized, name)["items"]:
                patch = '{"metadata":{"finalizers":null}}'
                where = f"{finalized}/{body['metadata']['name']}"
                cluster.kubectl("-n", name, "patch", where, "--type=merge", "-p", patch, check=False)


def _forget(store: Any) -> None:
    """Empty the bucket, since no run needs another one's journals."""
    for page in store.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for found in page.get("Contents", []):
            store.delete_object(Bucket=BUCKET, Key=found["Key"])


class OperatorProcess:
    """The process `comptroller operator` on this machine, with the rights of the cluster's administrator."""

    def __init__(self, cluster: RealCluster, log: Path, namespace: str) -> None:
        self.namespace = namespace
        self._log = log
        (self._port,) = free_ports(1)
        self._environment = os.environ | {
            "COMPTROLLER_LEDGER_URI": LEDGER,
            "COMPTROLLER_TRAINER_IMAGE": cluster.images["comptroller-trainer"],
            "COMPTROLLER_POD_S3_ENDPOINT": os.environ["AWS_ENDPOINT_URL_S3"],
            "COMPTROLLER_NAMESPACES": namespace,
            "COMPTROLLER_RESYNC_SECONDS": "1",
            "COMPTROLLER_SCRAPE_SECONDS": "1",
            "COMPTROLLER_HEALTH_PORT": str(self._port),
            "COMPTROLLER_METRICS_PORT": "0",
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the operator, or restart it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).parent / "comptroller", "operator"],
                stdout=log,
                stderr=log,
                env=self._environment,
            )

    def healthy(self) -> bool:
        """Return whether the operator has started and reports that it is healthy."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self._port}/healthz").is_success
        return False

    def peak_mebibytes(self) -> float:
        """Return the most resident memory since the start."""
        assert self._process is not None
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("the kernel does not tell a process's memory")

    def kill(self) -> None:
        """Kill the operator with `kill -9`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
