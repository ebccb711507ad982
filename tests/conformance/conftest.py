"""The stores for the conformance suite. The S3 server in Go is the one of `hack/cluster`."""

import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from comptroller.ledger.store import Store
from comptroller.ledger.stores import DirectoryStore, MemoryStore, S3Store
from support import apiserver


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """Return the address of an S3 server in Python."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a real S3 server."""
    program = apiserver.binaries() / "versitygw"
    root = tmp_path_factory.mktemp("versitygw")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "ROOT_ACCESS_KEY": "test", "ROOT_SECRET_KEY": "test"}
    command = [str(program), "--port", f"127.0.0.1:{port}", "--quiet", "posix", str(root)]
    with (root.parent / f"{root.name}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            await_port(port, process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=10)


def await_port(port: int, process: "subprocess.Popen[bytes]", seconds: float = 20) -> None:
    """Wait until the server listens."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} does not listen on port {port}")


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set credentials and a region for servers on this machine."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture(params=["moto", "versitygw"])
def s3(request: pytest.FixtureRequest) -> S3Store:
    """Return a new bucket of each S3 server."""
    return _bucket(request)


@pytest.fixture(params=["memory", "directory", "moto", "versitygw"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Return a new store of each kind."""
    match request.param:
        case "memory":
            return MemoryStore()
        case "directory":
            return DirectoryStore(tmp_path / "not" / "made" / "yet")
        case _:
            return _bucket(request)


def _bucket(request: pytest.FixtureRequest) -> S3Store:
    request.getfixturevalue("aws")
    endpoint: str = request.getfixturevalue(request.param)
    bucket = f"ledger-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=bucket)
    return S3Store(bucket, "some/prefix", endpoint=endpoint)
