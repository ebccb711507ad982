"""`make chaos MINUTES=n`: run studies on the real cluster while it breaks and a tenant tampers with them.

The operator is installed with its chart, and small studies run in several namespaces, one after another: with
our trainer, and with an image that ignores SIGTERM and has no guard. Meanwhile the operator is killed, the
API server, the controller manager and the object store are stopped and started, and a tenant who is bound to
`edit` tampers with Jobs, pods and studies: in the first half under the chart's policies, then without them.

The judge shares no code with the operator: starts and ends of containers are containerd's, billed amounts are
read from the journal's JSON, and the price is the one that this program applied.
"""

import argparse
import contextlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos.faults import RELEASE, SYSTEM, Faults
from chaos.judge import Verdict, judge
from chaos.tenant import INTRUDER, MANAGED, USER, Tenant
from chaos.witness import Witness
from support import realcluster
from support.awaiting import eventually

BUCKET = "chaos"
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
DEAF = "localhost/comptroller-deaf:chaos"
DEAFNESS = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1e6)"
CEILING = "0.04"
MICRO = 40_000
"""`CEILING` in micro-units."""
LEASE = {"duration": "30s", "gracePeriod": "5s", "slack": "10s"}
STUDIES: dict[str, dict[str, Any]] = {
    "trainer": {
        "runtime": {"resources": {"cpu": "300m", "memory": "1Gi"}, "lease": LEASE},
        "search": {"trials": 12, "parallel": 2, "rungs": {"epochs": [5, 40]}},
    },
    "deaf": {
        "runtime": {"resources": {"cpu": "100m", "memory": "256Mi"}, "lease": LEASE, "image": DEAF},
        "search": {"trials": 12, "parallel": 2, "rungs": {"epochs": [5]}},
    },
}
NAMESPACES = {"chaos-a": ["trainer"], "chaos-b": ["trainer", "deaf"], "chaos-c": ["deaf"]}
"""The studies that run at the same time in each namespace."""
CHART = realcluster.ROOT / "charts" / "comptroller"
POLICIES = ("managed", "operator", "governed", "studies")
CALM = 10
"""The seconds without other faults after a tampering that no policy refuses.

A dead operator cannot lower what a tenant raised; then the pod's own deadline is the bound, not the ceiling.
"""
CLOSED = 300
"""The seconds within which the books close once everything works again."""


@dataclass
class Phase:
    """A release of the chart with its own namespaces, and the faults and tampering of both."""

    cluster: realcluster.RealCluster
    policies: bool
    seed: int
    record: Callable[[str], None]
    witness: Witness
    studies: dict[str, list[str]] = field(default_factory=dict)
    """The names of each namespace's studies."""

    def __post_init__(self) -> None:
        self.name = "with-policies" if self.policies else "without"
        self.prefix = f"{realcluster.RUN}-{self.name}"
        self.faults = Faults(self.cluster, random.Random(self.seed), self.record)
        trainer = self.cluster.images["comptroller-trainer"]
        self.tenant = Tenant(self.cluster, trainer, random.Random(self.seed + 1), self.record)
        self._over = threading.Event()
        self._calm = contextlib.nullcontext() if self.policies else threading.Lock()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Install the chart's release while the context lasts."""
        meta = {"name": "s3", "namespace": SYSTEM}
        keys = {key: os.environ[key] for key in KEYS}
        self.cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
        self.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": keys})
        for name in NAMESPACES:
            made = self.cluster.namespace(f"{name}-{self.name}")
            self.cluster.apply(_edits(made))
            self.studies[made] = []
        values = self._values()
        words = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
        _helm("upgrade", "--install", RELEASE, "--wait", "--timeout=3m", *words, str(CHART))
        try:
            if self.policies:
                eventually(
                    lambda: self.tenant.is_refused(next(iter(self.studies))), 60, "policies are in force"
                )
            yield
        finally:
            _helm("uninstall", RELEASE, "--wait")

    def _values(self) -> dict[str, str]:
        operator, trainer = (
            self.cluster.images[f"comptroller-{name}"].rpartition(":") for name in ("operator", "trainer")
        )
        return {
            "image.repository": operator[0],
            "image.tag": operator[2],
            "trainer.image.repository": trainer[0],
            "trainer.image.tag": trainer[2],
            "ledger.uri": f"s3://{BUCKET}/{self.prefix}",
            "s3.endpoint": os.environ["AWS_ENDPOINT_URL_S3"],
            "s3.credentialsSecret": "s3",
            "watchNamespaces": "{" + ",".join(self.studies) + "}",
            "clusterId": self.prefix,
            "crds.install": "false",
            "operator.resyncSeconds": "2",
            **{f"policies.{name}.enabled": str(self.policies).lower() for name in POLICIES},
        }

    def run(self, seconds: float) -> None:
        """Run studies, faults and tampering for `seconds`; then repair everything and stop the studies."""
        with ThreadPoolExecutor(2) as pool:
            lives = [pool.submit(self._fault), pool.submit(self._tamper)]
            try:
                self._feed_until(time.monotonic() + seconds)
            finally:
                self._over.set()
            for life in lives:
                life.result()
        self.faults.recover()
        suspend = ("--type=merge", "-p", '{"spec":{"suspend":true}}')
        for namespace, names in self.studies.items():
            for name in names:
                self.cluster.kubectl("-n", namespace, "patch", f"study/{name}", *suspend)

    def _feed_until(self, end: float) -> None:
        while time.monotonic() < end:
            for namespace in self.studies:
                with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):  # nobody answers now
                    self._feed(namespace)
            time.sleep(2)

    def _fault(self) -> None:
        rng = random.Random(self.seed + 2)
        while not self._over.wait(rng.uniform(4, 15)):
            with self._calm:
                self.faults.cause()
                if not self.policies:
                    self.faults.recover()

    def _tamper(self) -> None:
        rng = random.Random(self.seed + 3)
        while not self._over.wait(rng.uniform(1, 4)):
            with self._calm:
                for namespace in self.studies:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self.tenant.tamper(namespace)
                if not self.policies:
                    self._over.wait(CALM)

    def _feed(self, namespace: str) -> None:
        """Start the next study of each kind whose last one has ended."""
        studies = self.cluster.get("studies", namespace)["items"]
        ended = {one["metadata"]["name"] for one in studies if _ended(one)}
        names = self.studies[namespace]
        for kind in NAMESPACES[namespace.rsplit(f"-{self.name}", 1)[0]]:
            own = [name for name in names if name.startswith(kind)]
            if not own or own[-1] in ended:
                name = f"{kind}-{len(own)}"
                self.cluster.apply(realcluster.study(name, namespace, CEILING, **STUDIES[kind]))
                names.append(name)
                self.record(f"study {namespace}/{name} of {CEILING} USD")

    def verdicts(self) -> list[Verdict]:
        """Return the findings in each namespace, once its books are closed or should be."""
        end = time.monotonic() + CLOSED
        found = [self._judge(each) for each in self.studies]
        while any(one.open for one in found) and time.monotonic() < end:
            time.sleep(3)
            found = [self._judge(each) for each in self.studies]
        for one in found:
            one.conclude()
            one.faults += _unverified(f"s3://{BUCKET}/{self.prefix}", one.namespace)
        return found

    def _judge(self, namespace: str) -> Verdict:
        ceilings = dict.fromkeys(self.studies[namespace], MICRO)
        return judge(
            namespace, _journal(self.prefix, namespace), self.witness.of(namespace), ceilings, INTRUDER
        )

    def unpoliced(self) -> list[str]:
        """Return the kinds of tampering with managed objects that succeeded under policies."""
        return sorted(kind for kind in MANAGED if self.policies and self.tenant.counts[kind, "accepted"])


def _edits(namespace: str) -> dict[str, Any]:
    """Return the binding by which the tenant may edit the namespace."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": USER, "namespace": namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
    }


def _ended(study: dict[str, Any]) -> bool:
    conditions = study.get("status", {}).get("conditions", [])
    return any(one["type"] in {"Complete", "Failed"} and one["status"] == "True" for one in conditions)


def _helm(*words: str) -> None:
    done = subprocess.run(["helm", "-n", SYSTEM, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _journal(prefix: str, namespace: str) -> list[bytes]:
    """Return the batches of a namespace's journal, in order."""
    # The object store may lose its endpoint for some seconds, after an outage of the API server.
    patient = Config(retries={"mode": "standard", "max_attempts": 10})
    store, own = boto3.client("s3", config=patient), f"{prefix}/ledger/{namespace}/journal/"
    pages = store.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=own)
    keys = sorted(found["Key"] for page in pages for found in page.get("Contents", []))
    return [store.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys]


def _unverified(uri: str, namespace: str) -> list[str]:
    """Return the output of `comptroller ledger verify` if it fails."""
    program = Path(sys.executable).with_name("comptroller")
    words = [str(program), "ledger", "verify", uri, "--namespace", namespace]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    output = " ".join(f"{done.stdout} {done.stderr}".split())
    return [f"`comptroller ledger verify` fails: {output}"] if done.returncode else []


def chaos(cluster: realcluster.RealCluster, minutes: float, seed: int, directory: Path) -> list[str]:
    """Run both halves; return the faults, and what befell the attempts at fault. Logs go to the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    derive = ("derive", "comptroller-trainer", DEAF, "python", "-c", DEAFNESS)
    subprocess.run([realcluster.PROGRAM, *derive], check=True)
    with contextlib.suppress(ClientError):
        boto3.client("s3").create_bucket(Bucket=BUCKET)
    lines: list[str] = []
    with (directory / "chaos.log").open("w") as log:

        def record(text: str) -> None:
            line = f"{time.strftime('%H:%M:%S', time.gmtime())} {text}"
            lines.append(line)
            sys.stdout.write(f"{line}\n")
            log.write(f"{line}\n")
            sys.stdout.flush()
            log.flush()

        record(f"chaos of {minutes:g} minutes, seed {seed}")
        for policies in (True, False):
            witness = Witness(directory / f"containers-{policies}.log")
            phase = Phase(cluster, policies, seed, record, witness)
            try:
                with phase.installed():
                    phase.run(minutes * 30)
                    verdicts = phase.verdicts()
            finally:
                witness.close()
                realcluster.remove_namespaces(cluster)
            faults += report(phase, verdicts, record)
            for name in sorted({name for one in verdicts for name in one.at_fault}):
                faults += [line for line in lines if name in line]
        record(
            "FAULTS: " + "; ".join(faults) if faults else "nothing is over its ceiling, nothing ran unbilled"
        )
    return faults


def report(phase: Phase, verdicts: list[Verdict], record: Callable[[str], None]) -> list[str]:
    """Record the events and findings of a phase; return its faults."""
    record(f"{phase.name}: " + ", ".join(f"{what}: {n}" for what, n in sorted(phase.faults.counts.items())))
    for (kind, outcome), count in sorted(phase.tenant.counts.items()):
        record(f"{phase.name}: tenant: {kind}: {outcome}: {count}")
    for one in verdicts:
        studies, attempts = len(phase.studies[one.namespace]), len(one.attempts)
        record(
            f"{one.namespace}: {studies} studies, {attempts} attempts; by containers' times {one.cost}, "
            f"posted {one.posted} micro-dollars; over a ceiling {one.over}; strangers' pods {one.strangers}"
        )
    for one in verdicts:
        for name in one.at_fault:
            for line in one.attempts[name].history:
                record(f"{one.namespace}/{name}: {line}")
    found = [f"{one.namespace}: {fault}" for one in verdicts for fault in one.faults]
    return found + [f"under policies a tenant could {kind}" for kind in phase.unpoliced()]


def main() -> int:
    """Return 1 if anything was over a ceiling, unbilled or not verified."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--directory", type=Path, default=realcluster.ROOT / "out" / "chaos")
    options = parser.parse_args()
    realcluster.prepare()
    with contextlib.closing(realcluster.connect()) as cluster:
        return 1 if chaos(cluster, options.minutes, options.seed, options.directory) else 0


if __name__ == "__main__":
    sys.exit(main())
