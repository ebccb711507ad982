"""A store in an S3 bucket, or in anything that speaks S3 and honours `If-None-Match: *`."""

import base64
import hashlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, TypedDict

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ProxyConnectionError,
)
from botocore.parsers import ResponseParserError

from comptroller.ledger.store import (
    MAX_OBJECT,
    Ambiguous,
    Conflict,
    Exists,
    NoObjectLock,
    Store,
    TooLarge,
    Unavailable,
    checked,
)
from comptroller_api.text import without_credentials

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_CONNECT_SECONDS = 3
_READ_SECONDS = 10
_READERS = 8
_AHEAD = 32
"""The number of reads that `get_many` has under way, and of objects that it keeps at most."""
_READS = 3
"""Tries of a read, the first included."""

_NOT_SENT = (
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
    ProxyConnectionError,
)
"""Raised before a connection is made. Whatever else went wrong may have hidden a success."""

_FAILURE = (BotoCoreError, ResponseParserError, OSError)
"""All errors of botocore besides `ClientError`, which is the server's own answer."""


_NO_LOCK = frozenset(
    {
        "ObjectLockConfigurationNotFoundError",
        "NoSuchObjectLockConfiguration",
        "NotImplemented",
        "InvalidBucketState",
    }
)
"""The answers of servers if a bucket has no Object Lock, or they do not know it."""


class _Retention(TypedDict, total=False):
    ObjectLockMode: Literal["GOVERNANCE", "COMPLIANCE"]
    ObjectLockRetainUntilDate: datetime


class S3Clients:
    """The connections of one process to one S3 endpoint, whatever the number of buckets.

    A client is several MiB (botocore's model of S3, its endpoint rules, a pool of connections), so stores of
    the same endpoint share them; both are safe to use from several threads.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        """Connect lazily to `endpoint`, or to the one that the environment names."""
        session = boto3.session.Session()
        # botocore retries a PUT whose reply was lost, and then the second try finds the first one's object.
        self.writer: S3Client = session.client("s3", endpoint_url=endpoint, config=_config(1))
        self.reader: S3Client = session.client("s3", endpoint_url=endpoint, config=_config(_READS))


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """S3 Object Lock for the batches of journals: for `days`, nobody deletes or overwrites what was written.

    In mode `Governance` those with `s3:BypassGovernanceRetention` may, in mode `Compliance` nobody may. The
    bucket must have been made with Object Lock, which turns versioning on.
    """

    mode: Literal["Governance", "Compliance"]
    days: int


class S3Store(Store):
    """Objects of one bucket below one prefix.

    Endpoint, region and credentials come from the environment as boto3 reads it (`AWS_ENDPOINT_URL_S3`,
    `AWS_REGION`, workload identity, ...). Directory buckets (S3 Express) are not supported: they list their
    keys in no order.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        endpoint: str | None = None,
        clients: S3Clients | None = None,
        lock: ObjectLock | None = None,
    ) -> None:
        """A store in `bucket` below `prefix`.

        Args:
            bucket: its name.
            prefix: put before every key; no leading or trailing slash.
            endpoint: in place of what the environment says.
            clients: shared with other stores of the same endpoint; its own where none are given.
            lock: for the batches of journals; snapshots can be derived again and stay deletable.
        """
        self._bucket = bucket
        self._root = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._lock = lock
        clients = clients or S3Clients(endpoint)
        self._writer, self._reader = clients.writer, clients.reader

    def create(self, key: str, data: bytes) -> None:
        digest = base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
        try:
            reply = self._writer.put_object(
                Bucket=self._bucket,
                Key=self._root + checked(key),
                Body=data,
                IfNoneMatch="*",
                # Every S3 checks this one; newer checksums are unknown to some.
                ContentMD5=digest,
                ContentType="application/json",
                **self._retention(key),
            )
        except ClientError as error:
            if _status(error) == HTTPStatus.PRECONDITION_FAILED:
                raise Exists(key) from None
            if _status(error) == HTTPStatus.CONFLICT:
                raise Conflict(f"{key}: {_text(error)}") from None
            if _status(error) == HTTPStatus.FORBIDDEN and self._retained(key):
                # Some servers look at the lock of what is there before they look at the condition.
                raise Exists(key) from None
            raise _write_error(key, error) from None
        except _FAILURE as error:
            raise _write_error(key, error) from None
        if not reply.get("ETag"):
            raise Ambiguous(f"{key}: an answer of 200 that is not S3's: it has no ETag")

    def _retained(self, key: str) -> bool:
        """Return whether there is a locked object under `key`."""
        if not self._retention(key):
            return False
        try:
            head = self._reader.head_object(Bucket=self._bucket, Key=self._root + key)
        except (ClientError, *_FAILURE):
            return False
        return bool(head.get("ObjectLockMode"))

    def _retention(self, key: str) -> "_Retention":
        if self._lock is None or "/journal/" not in key:
            return {}
        until = datetime.now(UTC) + timedelta(days=self._lock.days)
        mode: Literal["GOVERNANCE", "COMPLIANCE"] = (
            "GOVERNANCE" if self._lock.mode == "Governance" else "COMPLIANCE"
        )
        return {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": until}

    def probe(self) -> None:
        if self._lock is not None:
            self._require_object_lock()
        super().probe()

    def _require_object_lock(self) -> None:
        """Raise `NoObjectLock` where the bucket was not made with Object Lock."""
        try:
            reply = self._reader.get_object_lock_configuration(Bucket=self._bucket)
            enabled = reply["ObjectLockConfiguration"].get("ObjectLockEnabled") == "Enabled"
        except ClientError as error:
            if error.response["Error"]["Code"] not in _NO_LOCK:
                raise Unavailable(
                    f"the Object Lock configuration of {self._bucket}: {_text(error)}"
                ) from None
            enabled = False
        except _FAILURE as error:
            raise Unavailable(f"the Object Lock configuration of {self._bucket}: {_text(error)}") from None
        if not enabled:
            raise NoObjectLock(
                f"ledger.objectLock.mode is {self._lock.mode if self._lock else ''}, and bucket"
                f" {self._bucket!r} has no Object Lock: make a bucket with Object Lock enabled and copy the"
                " ledger to it, or leave ledger.objectLock.mode empty"
            )

    def get(self, key: str, limit: int = MAX_OBJECT) -> bytes | None:
        try:
            reply = self._reader.get_object(Bucket=self._bucket, Key=self._root + checked(key))
            with reply["Body"] as body:
                if reply["ContentLength"] > limit:
                    raise TooLarge(f"{key}: {reply['ContentLength']} bytes, more than {limit}")
                data = body.read(limit + 1)
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                return None
            raise Unavailable(f"{key}: {_text(error)}") from None
        except _FAILURE as error:
            raise Unavailable(f"{key}: {_text(error)}") from None
        if len(data) > limit:
            raise TooLarge(f"{key}: more than {limit} bytes")
        if len(data) != reply["ContentLength"]:
            raise Unavailable(f"{key}: {len(data)} bytes came, {reply['ContentLength']} were announced")
        return data

    def get_many(self, keys: Iterable[str], limit: int = MAX_OBJECT) -> Generator[bytes | None]:
        pending: deque[Future[bytes | None]] = deque()
        with ThreadPoolExecutor(_READERS, "s3-read-ahead") as pool:
            try:
                for key in keys:
                    pending.append(pool.submit(self.get, key, limit))
                    if len(pending) >= _AHEAD:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for read in pending:
                    read.cancel()

    def keys(self, prefix: str = "", after: str = "") -> Iterator[str]:
        pages = self._reader.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket,
            Prefix=self._root + prefix,
            **({"StartAfter": self._root + after} if after else {}),  # type: ignore[arg-type]
        )
        try:
            for page in pages:
                for item in page.get("Contents", []):
                    yield item["Key"].removeprefix(self._root)
        except (ClientError, *_FAILURE) as error:
            raise Unavailable(f"the keys under {prefix!r}: {_text(error)}") from None

    def delete(self, key: str) -> None:
        try:
            self._writer.delete_object(Bucket=self._bucket, Key=self._root + checked(key))
        except (ClientError, *_FAILURE) as error:
            raise _write_error(key, error) from None


def _config(attempts: int) -> Config:
    return Config(
        retries={"total_max_attempts": attempts, "mode": "standard"},
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        s3={"addressing_style": "path"},  # a bucket's name need not resolve
        request_checksum_calculation="when_required",  # see `ContentMD5`
        response_checksum_validation="when_required",
        max_pool_connections=32,
    )


def _status(error: ClientError) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


def _text(error: Exception) -> str:
    """Return an error's text for statuses and logs; callers raise `from None`, to hide the cause's text."""
    return without_credentials(str(error))


def _write_error(key: str, error: Exception) -> Ambiguous | Unavailable:
    """Return the meaning of a failed write: 4xx is a refusal; 5xx or a broken connection leaves it open."""
    if isinstance(error, ClientError):
        refused = _status(error) < HTTPStatus.INTERNAL_SERVER_ERROR
    else:
        refused = isinstance(error, _NOT_SENT)
    return Unavailable(f"{key}: {_text(error)}") if refused else Ambiguous(f"{key}: {_text(error)}")
