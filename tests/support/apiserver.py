"""A Kubernetes API server with its etcd, without kubelet and controllers, that starts in a few seconds.

`hack/cluster/cluster` builds the programs and keeps them in the cache.
"""

import contextlib
import os
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

ROOT = Path(__file__).resolve().parents[2]
CRDS = sorted((ROOT / "crds").glob("*.yaml"))
API = "/apis/comptroller.dev/v1alpha1"
PLURALS = {"Study": "studies", "Trial": "trials", "Budget": "budgets", "PriceList": "pricelists"}
_START_LIMIT_S = 90


def binaries() -> Path:
    """Return the directory of the programs that `hack/cluster/cluster` built.

    Raises:
        FileNotFoundError: they are not built.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "comptroller" / "binaries"
    built = sorted(cache.glob("*/kubernetes"), key=lambda path: path.stat().st_mtime)
    if not built:
        raise FileNotFoundError("Kubernetes is not built; run `hack/cluster/cluster up` once")
    return built[-1].parent


@dataclass
class ApiServer:
    """A running server and a client with all rights."""

    client: httpx.Client
    token: str

    def path(self, manifest: dict[str, Any]) -> str:
        """Return the path of objects of the manifest's kind."""
        plural = PLURALS[manifest["kind"]]
        if manifest["kind"] == "PriceList":
            return f"{API}/{plural}"
        return f"{API}/namespaces/{manifest['metadata'].get('namespace', 'default')}/{plural}"

    def create(self, manifest: dict[str, Any], *, dry: bool = False) -> httpx.Response:
        """Create as `kubectl apply` would: an unknown field is an error."""
        query = {"fieldValidation": "Strict", **({"dryRun": "All"} if dry else {})}
        return self.client.post(self.path(manifest), params=query, json=manifest)

    def store(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Create an object with its status; return the stored object."""
        stored: dict[str, Any] = self.create(manifest).raise_for_status().json()
        if "status" not in manifest:
            return stored
        whole = {**stored, "status": manifest["status"]}
        where = f"{self.path(manifest)}/{stored['metadata']['name']}/status"
        out: dict[str, Any] = self.client.put(where, json=whole).raise_for_status().json()
        return out

    def update(self, stored: dict[str, Any], manifest: dict[str, Any]) -> httpx.Response:
        """Replace a stored object, except for its status."""
        metadata = {**stored["metadata"], **manifest["metadata"]}
        where = f"{self.path(manifest)}/{metadata['name']}"
        return self.client.put(
            where, params={"fieldValidation": "Strict"}, json={**manifest, "metadata": metadata}
        )

    def delete(self, manifest: dict[str, Any]) -> None:
        """Remove an object, if it exists."""
        self.client.delete(f"{self.path(manifest)}/{manifest['metadata']['name']}")


def sentences(response: httpx.Response) -> tuple[str, ...]:
    """Return the server's refusals, one sentence per reason, in alphabetical order; empty if it accepted."""
    if response.is_success:
        return ()
    status = response.json()
    if "strict decoding error" in status["message"]:
        return tuple(sorted(re.findall(r'unknown field "[^"]*"', status["message"])))
    causes = status.get("details", {}).get("causes")
    if not causes:
        return (status["message"],)
    return tuple(sorted(f"{cause['field']}: {cause['message']}" for cause in causes))


@contextlib.contextmanager
def running(directory: Path) -> Iterator[ApiServer]:
    """Run an API server with the project's CRDs while the context lasts."""
    program, token = binaries() / "kubernetes", secrets.token_hex(16)
    etcd_port, peer_port, port = free_ports(3)
    (directory / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    etcd = [
        "etcd", f"--data-dir={directory}/etcd", "--unsafe-no-fsync", "--log-level=error",
        f"--listen-client-urls=http://127.0.0.1:{etcd_port}",
        f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
        f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
    ]  # fmt: skip
    apiserver = [
        "kube-apiserver", f"--etcd-servers=http://127.0.0.1:{etcd_port}", f"--secure-port={port}",
        "--bind-address=127.0.0.1", f"--cert-dir={directory}/certificates",
        f"--token-auth-file={directory}/tokens.csv", "--authorization-mode=RBAC",
        "--disable-admission-plugins=ServiceAccount", "--service-cluster-ip-range=10.96.0.0/24",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-signing-key-file={directory}/key.pem",
        f"--service-account-key-file={directory}/key.pem",
    ]  # fmt: skip
    with _process(program, etcd, directory), _process(program, apiserver, directory) as server:
        client = httpx.Client(
            base_url=f"https://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {token}"},
            verify=False,
            timeout=30,
        )
        with client:
            _await(lambda: client.get("/readyz").is_success, server, directory)
            install_crds(client)
            _await(
                lambda: all(client.get(f"{API}/{plural}").is_success for plural in PLURALS.values()),
                server,
                directory,
            )
            yield ApiServer(client, token)


def install_crds(client: httpx.Client) -> None:
    """Create the project's CRDs.

    Raises:
        AssertionError: the server refuses one.
    """
    for path in CRDS:
        response = client.post(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            params={"fieldValidation": "Strict"},
            content=path.read_text(),
            headers={"Content-Type": "application/yaml"},
        )
        if not response.is_success:
            raise AssertionError(f"{path.name}: {response.json()['message']}")


def free_ports(count: int) -> list[int]:
    """Return different ports on which nobody listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def _process(program: Path, arguments: list[str], directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (directory / f"{arguments[0]}.log").open("wb") as log:
        process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(condition: Any, server: subprocess.Popen[bytes], directory: Path) -> None:
    deadline = time.monotonic() + _START_LIMIT_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            if condition():
                return
        if server.poll() is not None or time.monotonic() > deadline:
            log = (directory / "kube-apiserver.log").read_text()[-2000:]
            raise AssertionError(f"the API server did not come up: {log}")
        time.sleep(0.1)
