"""Stores, all held to the same promises; S3 against a server that keeps conditional writes."""

import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import IncompleteReadError
from moto.server import ThreadedMotoServer

from comptroller_api.contract import Report
from comptroller_trainer.errors import MissingError, ObjectStoreError, Suspended, UnavailableError
from comptroller_trainer.store import ObjectStore, open_store
from comptroller_trainer.store.s3 import S3ObjectStore
from comptroller_trainer.testing.stores import ObjectStoreConformance


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket, and the environment in which boto3 finds it."""
    for name in ("AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="studies")
    for entry in client.list_objects_v2(Bucket="studies").get("Contents", []):
        client.delete_object(Bucket="studies", Key=entry["Key"])
    return "studies"


class TestDirectoryObjectStore(ObjectStoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> ObjectStore:
        return open_store(f"file://{tmp_path}/a/b")


class TestS3ObjectStore(ObjectStoreConformance):
    concurrent = False

    @pytest.fixture
    def store(self, bucket: str) -> ObjectStore:
        return open_store(f"s3://{bucket}/a/b")


def test_a_missing_bucket_is_named(bucket: str) -> None:
    del bucket
    with pytest.raises(MissingError, match="no such bucket"):
        open_store("s3://nowhere-at-all/x").get("k")


def test_a_dead_server_is_an_error_in_bounded_time(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    with pytest.raises(ObjectStoreError):
        open_store(f"s3://{bucket}/x").put("k", b"1")


CALLS: list[Callable[[ObjectStore, Path], object]] = [
    lambda store, _: store.get("k"),
    lambda store, _: store.put("k", b"1"),
    lambda store, _: store.create("k", b"1"),
    lambda store, path: store.upload("k", path),
    lambda store, _: store.list(""),
    lambda store, _: store.delete("k"),
    lambda store, path: store.fetch("k", path.parent),
]


@pytest.mark.parametrize("call", CALLS)
def test_an_error_shows_no_credentials(
    call: Callable[[ObjectStore, Path], object], bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (path := tmp_path / "file").write_bytes(b"1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASECRET\nx")
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it keeps the credentials that it found first
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    with pytest.raises(UnavailableError, match="is there a line break in the access key ID") as raised:
        call(open_store(f"s3://{bucket}/x"), path)
    shown = "".join(traceback.format_exception(raised.value))
    assert "AKIASECRET" not in shown
    assert "Signature=" not in shown


class Broken:
    """A body whose connection breaks in the middle, once."""

    def __init__(self, store: S3ObjectStore) -> None:
        self._plain = store._client.get_object
        self.calls = 0

    def __call__(self, **options: Any) -> Any:
        self.calls += 1
        answer: Any = self._plain(**options)
        if self.calls == 1:
            answer["Body"].close()

            class Body:
                def read(self) -> bytes:
                    raise IncompleteReadError(actual_bytes=1, expected_bytes=2)

            return answer | {"Body": Body()}
        return answer


def test_a_read_that_breaks_is_done_again(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(f"s3://{bucket}/x")
    assert isinstance(store, S3ObjectStore)
    store.put("k", b"12")
    broken = Broken(store)
    monkeypatch.setattr(store._client, "get_object", broken)
    assert store.get("k") == b"12"
    assert broken.calls == 2


def test_a_trial_lives_in_s3_alone(bucket: str, attempt: Any, idx_directory: Path) -> None:
    source = open_store(f"s3://{bucket}/data")
    for path in idx_directory.glob("train-*"):
        source.upload(path.name, path)
    place = {"artifacts": f"s3://{bucket}/trial", "data": {"uri": f"s3://{bucket}/data", "format": "IDX"}}
    with pytest.raises(Suspended):
        attempt(stop_after=4, **place)
    report: Report = attempt(attempt=1, **place)
    kept = open_store(f"s3://{bucket}/trial")
    assert {a.uri for a in report.artifacts} <= {kept.uri_of(key) for key in kept.list("rungs/0/")}
    assert report.epochs == 2
