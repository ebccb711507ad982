"""The places where trials run: real Kubernetes, this machine, or a simulation. All keep one protocol."""

from comptroller.cluster.base import Cluster, Snapshot

__all__ = ["Cluster", "Snapshot"]
