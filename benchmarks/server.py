"""A real S3 server for benchmarks: versitygw, as `hack/cluster` builds it, on the loopback interface."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError


@contextmanager
def versitygw(directory: Path, bucket: str) -> Iterator[str]:
    """Yield the address of a server that keeps its objects in `directory` and has one bucket.

    The credentials are set in the environment, where boto3 finds them.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "comptroller" / "binaries"
    program = max(cache.glob("*/versitygw"), key=lambda path: path.stat().st_mtime)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
    os.environ |= {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
    environment = {**os.environ, "ROOT_ACCESS_KEY": "key", "ROOT_SECRET_KEY": "secret"}
    command = [str(program), "--port", endpoint.removeprefix("http://"), "--quiet", "posix", str(directory)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
            for _ in range(100):
                try:
                    client.create_bucket(Bucket=bucket)
                    break
                except (BotoCoreError, ClientError):
                    time.sleep(0.1)
            yield endpoint
        finally:
            server.terminate()
