"""Stores, all held to the same promises; S3 against a server that keeps conditional writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import IncompleteReadError
from moto.server import ThreadedMotoServer

from comptroller_api.contract import Report
from comptroller_trainer.errors import MissingError, ObjectStoreError, Suspended
from comptroller_trainer.store import ObjectStore, open_store
from comptroller_trainer.store.s3 import S3ObjectStore


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


@pytest.fixture(params=["file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "file":
        return open_store(f"file://{tmp_path}/a/b")
    return open_store(f"s3://{request.getfixturevalue('bucket')}/a/b")


def test_what_was_put_is_got(store: ObjectStore, tmp_path: Path) -> None:
    store.put("x/y.json", b"1")
    store.put("x/y.json", b"22")
    assert store.get("x/y.json") == b"22"
    assert store.uri_of("x/y.json") == f"{store.uri}/x/y.json"
    file = tmp_path / "upload"
    file.write_bytes(b"333" * 1000)
    store.upload("x/z", file)
    assert store.fetch("x/z", tmp_path / "cache").read_bytes() == b"333" * 1000


def test_creation_happens_once(store: ObjectStore) -> None:
    assert store.create("report.json", b"first")
    assert not store.create("report.json", b"second")
    assert store.get("report.json") == b"first"


def test_creation_again_of_the_same_is_success(store: ObjectStore) -> None:
    assert store.create("report.json", b"first")
    assert store.create("report.json", b"first")  # a reply that was lost


def test_keys_are_listed_in_order_below_the_prefix(store: ObjectStore) -> None:
    for key in ("b/2", "a/1", "b/10"):
        store.put(key, b"")
    assert store.list("") == ["a/1", "b/10", "b/2"]
    assert store.list("b/") == ["b/10", "b/2"]
    assert store.list("c/") == []


def test_an_object_is_distinguished_from_a_prefix(store: ObjectStore) -> None:
    store.put("k", b"1")
    assert not store.is_object()
    assert open_store(store.uri_of("k")).is_object()
    assert not open_store(store.uri_of("none")).is_object()


def test_deletion_is_idempotent(store: ObjectStore) -> None:
    store.put("k", b"1")
    store.delete("k")
    store.delete("k")
    assert store.list("") == []


def test_absence_is_distinguished_from_failure(store: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        store.get("nothing")
    with pytest.raises(MissingError):
        store.fetch("nothing", tmp_path)


def test_a_changed_object_is_not_read_from_the_cache(bucket: str, tmp_path: Path) -> None:
    store = open_store(f"s3://{bucket}/c")
    store.put("k", b"old")
    assert store.fetch("k", tmp_path).read_bytes() == b"old"
    store.put("k", b"new")
    assert store.fetch("k", tmp_path).read_bytes() == b"new"


def test_a_missing_bucket_is_named(bucket: str) -> None:
    del bucket
    with pytest.raises(MissingError, match="no such bucket"):
        open_store("s3://nowhere-at-all/x").get("k")


def test_a_dead_server_is_an_error_in_bounded_time(monkeypatch: pytest.MonkeyPatch, bucket: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    with pytest.raises(ObjectStoreError):
        open_store(f"s3://{bucket}/x").put("k", b"1")


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
