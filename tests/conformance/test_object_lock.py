"""With S3 Object Lock, batches of a journal survive every attempt to delete them."""

import uuid
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from comptroller.ledger.encoding import journal_key
from comptroller.ledger.journal import Journal
from comptroller.ledger.snapshots import snapshot_prefix
from comptroller.ledger.store import Exists, NoObjectLock
from comptroller.ledger.stores import ObjectLock, S3Store, open_store
from comptroller.ledger.testing import ceiling

LOCK = ObjectLock("Governance", 1)


@pytest.fixture(params=["moto", "versitygw"])
def endpoint(request: pytest.FixtureRequest) -> str:
    request.getfixturevalue("aws")
    found: str = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def bucket(endpoint: str) -> str:
    """Return a bucket that was created with Object Lock."""
    name = f"locked-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


def test_a_batch_cannot_be_deleted_and_a_snapshot_can(endpoint: str, bucket: str) -> None:
    store = S3Store(bucket, "books", endpoint=endpoint, lock=LOCK)
    store.probe()
    journal = Journal(store, "c", "ns", "w", lambda: 7, snapshot_every=1)
    for revision in range(3):
        assert journal.append([ceiling(100 + revision, revision)])
    client = boto3.client("s3", endpoint_url=endpoint)
    key = f"books/{journal_key('ns', 0)}"
    head = client.head_object(Bucket=bucket, Key=key)
    assert head["ObjectLockMode"] == "GOVERNANCE"
    version: dict[str, Any] = {"VersionId": head["VersionId"]} if "VersionId" in head else {}
    with pytest.raises(ClientError, match=r"AccessDenied|[Ll]ock"):
        client.delete_object(Bucket=bucket, Key=key, **version)
    assert store.get(journal_key("ns", 0)) is not None
    (snapshot, *_) = store.keys(snapshot_prefix("ns"))
    store.delete(snapshot)
    assert store.get(snapshot) is None


def test_a_locked_journal_is_still_written_once(endpoint: str, bucket: str) -> None:
    store = S3Store(bucket, "books", endpoint=endpoint, lock=LOCK)
    store.create(journal_key("ns", 0), b"first")
    with pytest.raises(Exists):
        store.create(journal_key("ns", 0), b"second")
    assert store.get(journal_key("ns", 0)) == b"first"


def test_a_bucket_without_object_lock_is_refused_with_the_way_out(endpoint: str) -> None:
    name = f"plain-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=name)
    store = S3Store(name, endpoint=endpoint, lock=LOCK)
    with pytest.raises(NoObjectLock, match=r"has no Object Lock: make a bucket with Object Lock enabled"):
        store.probe()
    S3Store(name, endpoint=endpoint).probe()


@pytest.mark.parametrize("uri", ["memory:", "/some/directory", "file:///some/directory"])
def test_only_s3_can_lock(uri: str) -> None:
    with pytest.raises(ValueError, match=r"ledger\.objectLock\.mode is Governance"):
        open_store(uri, LOCK)
