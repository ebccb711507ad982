"""S3 as a store. Boto3 finds endpoint, region and credentials."""

import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from comptroller_api.text import without_credentials
from comptroller_trainer.errors import MissingError, ObjectStoreError, UnavailableError
from comptroller_trainer.store.base import ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

T = TypeVar("T")

_TRIES = 4
_PATIENCE = Config(
    connect_timeout=5,
    read_timeout=30,
    retries={"mode": "standard", "total_max_attempts": _TRIES},
    # Servers behind a plain host name have no bucket subdomains.
    s3={"addressing_style": "path"},
    # Checksum trailers are an AWS extension that other servers refuse; what matters carries its own sha256.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)
_MISSING = frozenset({"NoSuchKey", "404", "NotFound", "NoSuchBucket"})
_CHUNK = 1 << 20


@contextmanager
def _as_store_errors(name: str) -> Iterator[None]:
    """Raise boto3's errors as ours, without the credentials that their texts and causes may quote."""
    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        code = answer.get("Code", "")
        if code in _MISSING:
            raise MissingError(
                f"{name}: no such {'bucket' if code == 'NoSuchBucket' else 'object'}"
            ) from None
        why = without_credentials(f"{code} {answer.get('Message', '')}".rstrip())
        raise UnavailableError(f"{name}: {why}") from None
    except BotoCoreError as error:
        raise UnavailableError(f"{name}: {without_credentials(str(error))}") from None


class S3ObjectStore(ObjectStore):
    """Objects of one bucket below a prefix."""

    def __init__(self, bucket: str, prefix: str, client: "S3Client | None" = None) -> None:
        self._bucket = bucket
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self.uri = f"s3://{bucket}/{self._prefix}".rstrip("/")
        # Workload identity sets AWS_REGION, which boto3 does not read.
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        self._client = client or boto3.client("s3", region_name=region, config=_PATIENCE)

    def get(self, key: str) -> bytes:
        def whole() -> bytes:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            return answer["Body"].read()

        return self._again(whole, key)

    def put(self, key: str, data: bytes) -> None:
        with _as_store_errors(self.uri_of(key)):
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)

    def create(self, key: str, data: bytes) -> bool:
        for attempt in range(_TRIES):
            with _as_store_errors(self.uri_of(key)):
                try:
                    self._client.put_object(
                        Bucket=self._bucket, Key=self._prefix + key, Body=data, IfNoneMatch="*"
                    )
                except ClientError as error:
                    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                    if status == 412:  # noqa: PLR2004 - Precondition Failed
                        # The object is ours if the client's retry met the object of its first try.
                        return self.get(key) == data
                    if status == 409 and attempt < _TRIES - 1:  # noqa: PLR2004 - a conflicting write in flight
                        time.sleep(0.1 * 2**attempt)
                        continue
                    raise
                return True
        raise ObjectStoreError(f"{self.uri_of(key)}: conflicting writes")

    def upload(self, key: str, path: Path) -> None:
        with _as_store_errors(self.uri_of(key)), path.open("rb") as file:
            self._client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=file)

    def list(self, prefix: str) -> list[str]:
        with _as_store_errors(self.uri_of(prefix)):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            return sorted(
                entry["Key"].removeprefix(self._prefix)
                for page in pages
                for entry in page.get("Contents", [])
            )

    def is_object(self) -> bool:
        if not self._prefix:
            return False
        try:
            with _as_store_errors(self.uri):
                self._client.head_object(Bucket=self._bucket, Key=self._prefix.rstrip("/"))
        except ObjectStoreError:
            return False
        return True

    def delete(self, key: str) -> None:
        with _as_store_errors(self.uri_of(key)):
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)

    def fetch(self, key: str, cache: Path) -> Path:
        def download() -> Path:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)
            # Files are named by content: a changed object is another file, and two pods may share the cache.
            name = hashlib.sha256(f"{self.uri_of(key)} {answer['ETag']}".encode()).hexdigest()[:32]
            path = cache / name / Path(key).name
            if path.is_file():
                answer["Body"].close()
                return path
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    for chunk in answer["Body"].iter_chunks(_CHUNK):
                        file.write(chunk)
                Path(temporary).replace(path)
            finally:
                Path(temporary).unlink(missing_ok=True)
            return path

        return self._again(download, key)

    def _again(self, read: Callable[[], T], key: str) -> T:
        """Read again if the connection breaks within a body, which the client's retries do not cover."""
        with _as_store_errors(self.uri_of(key)):
            for _ in range(_TRIES - 1):
                try:
                    return read()
                except BotoCoreError:
                    time.sleep(0.2)
            return read()
