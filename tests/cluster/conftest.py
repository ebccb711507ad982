"""Clusters for the tests: a real one, or only an API server for decisions that it makes alone."""

import contextlib
import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import apiserver, chart, policies, realcluster


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apiserver.ApiServer]:
    """Run an API server with the CRDs installed, and nothing else."""
    directory: Path = tmp_path_factory.mktemp("apiserver")
    with apiserver.running(directory) as server:
        yield server


@pytest.fixture(scope="module")
def namespaces(api_server: apiserver.ApiServer) -> None:
    """Make the release's namespace, with the strictest pod security, and two namespaces for studies."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    for name in (chart.NAMESPACE, "team-a", "team-b"):
        meta = {"name": name, "labels": labels}
        chart.applied(api_server, {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}, dry=False)
        account = {"name": "default", "namespace": name}
        body = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account}
        chart.applied(api_server, body, dry=False)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[realcluster.RealCluster]:
    """Return a complete cluster: kubelet, pods, S3 and the project's images. The first worker prepares it."""
    run = tmp_path_factory.getbasetemp()
    run = run if worker_id == "master" else run.parent
    with (run / "cluster.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (run / "cluster.prepared").exists():
            realcluster.prepare()
            (run / "cluster.prepared").touch()
    with contextlib.closing(realcluster.connect()) as found:
        yield found
        realcluster.remove_namespaces(found)


@pytest.fixture
def operator(
    cluster: realcluster.RealCluster, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[realcluster.OperatorProcess]:
    """Run an operator for a namespace of the test's own."""
    namespace = cluster.namespace(f"test-{request.node.name.replace('_', '-')[5:45].strip('-')}")
    process = realcluster.OperatorProcess(cluster, tmp_path / "operator.log", namespace)
    process.start()
    yield process
    process.kill()
    sys.stderr.write((tmp_path / "operator.log").read_text()[-6000:])


@pytest.fixture(scope="module")
def policed(api_server: apiserver.ApiServer) -> Iterator[None]:
    """Run the API server under the chart's policies, with a managed Job, its pod, and users of every kind."""
    with policies.installed(api_server):
        yield
