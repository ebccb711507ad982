"""The cluster's directories, addresses and pinned versions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

KUBERNETES = "v1.34.4"
"""The version of `k8s.io/kubernetes` in `binaries/go.mod`; a test of `binaries.py` compares the two."""

NODE = "comptroller"
NODE_CLASS = "cpu-small"
BRIDGE = "comptroller0"
NODE_ADDRESS = "10.244.0.1"
"""The bridge's address is the node's, so a change of the machine's network changes nothing here."""
POD_RANGE = "10.244.0.0/24"
SERVICE_RANGE = "10.96.0.0/16"
API_ADDRESS = "10.96.0.1"
"""The first address of `SERVICE_RANGE`, where the API server puts the service `kubernetes`."""
API_PORT = 6443
ETCD_PORT = 2379
ETCD_PEER_PORT = 2380
S3_NAMESPACE = "comptroller-s3"
S3_ADDRESS = "10.96.0.20"
S3_PORT = 7070
S3_REGION = "us-east-1"

CGROUP = "comptroller-cluster"
"""The control group of everything that the cluster runs, by which `down` knows its own processes."""

MARK = "comptroller-cluster"
"""The comment on the cluster's own packet-filter rules."""


@dataclass(frozen=True)
class Paths:
    """The directories of one cluster on one machine."""

    here: Path
    project: Path
    cache: Path
    state: Path
    run: Path

    @property
    def programs(self) -> Path:
        """The binaries in use (links into the cache)."""
        return self.state / "bin"

    @property
    def certificates(self) -> Path:
        return self.state / "pki"

    @property
    def configuration(self) -> Path:
        return self.state / "etc"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def processes(self) -> Path:
        """A file for each started process, with its id and start time."""
        return self.state / "processes"

    @property
    def socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "admin.kubeconfig"

    @property
    def image_list(self) -> Path:
        """JSON: `{"comptroller-operator": reference, "comptroller-trainer": reference}`."""
        return self.state / "images.json"


def paths() -> Paths:
    """Return the paths that the environment names, or the default ones."""
    here = Path(__file__).resolve().parent
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "comptroller"
    state = Path(os.environ.get("COMPTROLLER_CLUSTER_DIR") or "/var/lib/comptroller-cluster").resolve()
    return Paths(
        here=here, project=here.parent.parent, cache=cache, state=state, run=Path("/run/comptroller-cluster")
    )
