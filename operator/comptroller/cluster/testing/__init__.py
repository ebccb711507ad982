"""Conformance tests of clusters.

`ClusterConformance` is a class of tests for pytest with pytest-asyncio. Subclass it, and give it a fixture
`stage`: a `ClusterStage`, which has the cluster, a study in it, and what people and time do to both.
"""

from comptroller.cluster.testing.stage import ClusterStage, Failure
from comptroller.cluster.testing.suite import ClusterConformance

__all__ = ["ClusterConformance", "ClusterStage", "Failure"]
