"""The real cluster of `hack/cluster`, an operator process on it, and what tests ask of both."""

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

from apiserver import free_ports
from comptroller.ledger.books import Books
from comptroller.ledger.encoding import decode, journal_key
from comptroller.ledger.stores import open_store

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "hack" / "cluster" / "cluster"
BUCKET = "tests"
LEDGER = f"s3://{BUCKET}/books"
RUN = uuid.uuid4().hex[:6]
"""Ends the names of this process's namespaces."""
OURS = "comptroller.dev/tests"
"""The label of namespaces that tests made; its value is the `RUN` that they belong to."""
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
"""A core costs 0.00125 a second, and so the 400m of a trial 0.0005."""


_OWN, _CORE = "/apis/comptroller.dev/v1alpha1/namespaces/{}", "/api/v1/namespaces/{}"
_API = {
    **dict.fromkeys(("study", "studies"), f"{_OWN}/studies"),
    **dict.fromkeys(("trial", "trials"), f"{_OWN}/trials"),
    **dict.fromkeys(("job", "jobs"), "/apis/batch/v1/namespaces/{}/jobs"),
    **dict.fromkeys(("pod", "pods"), f"{_CORE}/pods"),
    **dict.fromkeys(("event", "events"), f"{_CORE}/events"),
}
"""Where each kind is."""


@dataclass
class RealCluster:
    """A running cluster, by its kubectl, its API server, its store and the images it has."""

    images: dict[str, str]
    client: httpx.Client

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl; what it printed."""
        done = subprocess.run(
            ["kubectl", *words], input=stdin, text=True, capture_output=True, check=False, timeout=180
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {shlex.join(words)}: {done.stderr or done.stdout}")
        return done.stdout

    def apply(self, *manifests: dict[str, Any]) -> None:
        """`kubectl apply`."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def get(self, what: str, namespace: str) -> Any:
        """An object (`job/name`), or the list of all of a kind or of several (`jobs,pods`).

        It asks over HTTP: tests ask again and again, and each kubectl takes a quarter of a second of a core.
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
        """End its connections."""
        self.client.close()

    def read(self, uri: str) -> Any:
        """The JSON at an S3 address."""
        where = urlsplit(uri)
        body = boto3.client("s3").get_object(Bucket=where.netloc, Key=where.path.lstrip("/"))["Body"]
        return json.loads(body.read())

    def namespace(self, name: str) -> str:
        """A namespace with the store's credentials in it, which no earlier run had; its name."""
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
        """A study's conditions by type."""
        status = self.get(f"study/{study}", namespace).get("status", {})
        return {c["type"]: c for c in status.get("conditions", [])}

    def complete(self, study: str, namespace: str) -> bool:
        """Whether the study is complete."""
        return self.conditions(study, namespace).get("Complete", {}).get("status") == "True"

    def ended(self, study: str, namespace: str) -> bool:
        """Whether the study is complete or has failed."""
        found = self.conditions(study, namespace)
        return any(found.get(kind, {}).get("status") == "True" for kind in ("Complete", "Failed"))

    def books(self, namespace: str) -> Books:
        """Fold the journal; P1 in every prefix."""
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
    """A study of four short trials on MNIST-1D."""
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
    """Each trial's outcome."""
    trials = cluster.get("trials", namespace)["items"]
    return {t["spec"]["number"]: t.get("status", {}).get("outcome", "") for t in trials}


def running_pods(cluster: RealCluster, namespace: str) -> list[str]:
    """The names of pods that have not ended."""
    pods = cluster.get("pods", namespace)["items"]
    return [p["metadata"]["name"] for p in pods if p["status"].get("phase") in {"Pending", "Running"}]


def started_pods(cluster: RealCluster, namespace: str) -> list[str]:
    """The names of pods whose containers run: they have a node, and go on without an API server."""
    pods = cluster.get("pods", namespace)["items"]
    return [p["metadata"]["name"] for p in pods if p["status"].get("phase") == "Running"]


def phases(cluster: RealCluster, namespace: str) -> list[str]:
    """What the heartbeats of running pods say they do."""
    pods = f"/api/v1/namespaces/{namespace}/pods"
    asked = [f"{pods}/{pod}:9464/proxy/heartbeat" for pod in started_pods(cluster, namespace)]
    answers = [cluster.kubectl("get", "--raw", path, check=False) for path in asked]
    return [json.loads(answer)["phase"] for answer in answers if answer]


def prepare() -> None:
    """Bring the cluster up where it is not, with the CRDs, a price list and an empty bucket.

    It is left up, since the next run wants it too.
    """
    subprocess.run([PROGRAM, "up", "--images"], check=True, stdout=sys.stderr)
    with contextlib.closing(connect()) as cluster:
        _prepare(cluster)


def _prepare(cluster: RealCluster) -> None:
    # The demo's operator would keep other books of the same studies.
    cluster.kubectl(
        "-n", "comptroller-system", "scale", "deployment/comptroller", "--replicas=0", check=False
    )
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    cluster.apply(PRICES)
    store = boto3.client("s3")
    with contextlib.suppress(ClientError):
        store.create_bucket(Bucket=BUCKET)
    remove_namespaces(cluster, OURS)  # of a run that was interrupted: its pods would take this one's cores
    _forget(store)


def connect() -> RealCluster:
    """The cluster that is up, after its programs and credentials are made this process's own."""
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
    """Let go of all that tests made, though no operator is there to settle it."""
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
    """Empty the bucket: a run's journals are of no use to another."""
    for page in store.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for found in page.get("Contents", []):
            store.delete_object(Bucket=BUCKET, Key=found["Key"])


class OperatorProcess:
    """`comptroller operator` on this machine, as the cluster's administrator."""

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
        """Start it, or start it again."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [Path(sys.executable).parent / "comptroller", "operator"],
                stdout=log,
                stderr=log,
                env=self._environment,
            )

    def healthy(self) -> bool:
        """Whether it has started, and says that it is well."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self._port}/healthz").is_success
        return False

    def peak_mebibytes(self) -> float:
        """The most memory that it had resident since it started."""
        assert self._process is not None
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        raise AssertionError("the kernel does not tell a process's memory")

    def kill(self) -> None:
        """`kill -9`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None
