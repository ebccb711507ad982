"""The faults of a cluster: kills of its operator, and outages of its control plane and object store."""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import boto3
from botocore.exceptions import BotoCoreError

from support.awaiting import eventually
from support.realcluster import PROGRAM, RealCluster

SYSTEM, RELEASE = "chaos-system", "chaos"
"""The release's namespace and name."""
_OPERATOR = ("-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/name=comptroller", "-o", "name")
_S3 = ("-n", "comptroller-s3", "scale", "deployment/s3")
SHORT, LONG = (3, 20), (50, 90)
"""The seconds of an outage; a long one outlives a lease."""


@dataclass
class Faults:
    """A source of random faults, one at a time, which it counts."""

    cluster: RealCluster
    rng: random.Random
    record: Callable[[str], None]
    counts: Counter[str] = field(default_factory=Counter)

    def cause(self) -> None:
        """Cause one fault, and return when it is over."""
        kind = self.rng.choice([self.kill_operator] * 4 + [self.stop_component] * 2 + [self.stop_s3])
        kind()

    def kill_operator(self) -> None:
        """Delete the operator's pod without grace; its Deployment makes another one."""
        for pod in self.cluster.kubectl(*_OPERATOR, check=False).split():
            self.cluster.kubectl("-n", SYSTEM, "delete", pod, "--grace-period=0", "--force", check=False)
            self._count("operator killed")

    def stop_component(self) -> None:
        """Stop a program of the control plane, and start it again."""
        name, seconds = self.rng.choice(["apiserver", "apiserver", "controller-manager"]), self._seconds()
        self._count(f"{name} stopped", seconds)
        subprocess.run([PROGRAM, "stop", name], check=True, capture_output=True)
        try:
            time.sleep(seconds)
        finally:
            subprocess.run([PROGRAM, "start", name], check=True, capture_output=True)

    def stop_s3(self) -> None:
        """Stop the object store, and start it again."""
        seconds = self._seconds()
        self._count("S3 stopped", seconds)
        self.cluster.kubectl(*_S3, "--replicas=0")
        try:
            time.sleep(seconds)
        finally:
            self.recover()

    def recover(self) -> None:
        """Wait until the object store and the operator work."""
        self.cluster.kubectl(*_S3, "--replicas=1")
        for where, name in (("comptroller-s3", "s3"), (SYSTEM, f"{RELEASE}-comptroller")):
            eventually(partial(self._is_ready, where, name), 180, f"{name} is ready")
        # Its Service may not lead to the pod yet, since kube-proxy follows later.
        eventually(_answers, 60, "the object store answers")

    def _is_ready(self, namespace: str, deployment: str) -> bool:
        status = ("rollout", "status", f"deployment/{deployment}", "--timeout=5s")
        return "successfully" in self.cluster.kubectl("-n", namespace, *status, check=False)

    def _seconds(self) -> int:
        return self.rng.randint(*(LONG if self.rng.random() < 1 / 6 else SHORT))

    def _count(self, what: str, seconds: int = 0) -> None:
        self.counts[what] += 1
        self.record(f"fault: {what}" + (f" for {seconds} s" if seconds else ""))


def _answers() -> bool:
    try:
        boto3.client("s3").list_buckets()
    except BotoCoreError:
        return False
    return True
