"""Errors of S3, whose texts go to conditions and logs, do not show the credentials of the request."""

import traceback
from collections.abc import Callable

import pytest

from comptroller.ledger.store import StoreError
from comptroller.ledger.stores import ObjectLock, S3Store

READS_AND_WRITES: list[Callable[[S3Store], object]] = [
    lambda store: store.get("k"),
    lambda store: list(store.get_many(["k"])),
    lambda store: store.create("k", b"1"),
    lambda store: list(store.keys()),
    lambda store: store.delete("k"),
    lambda store: store.probe(),
]


@pytest.mark.parametrize("call", READS_AND_WRITES)
@pytest.mark.parametrize(
    ("variables", "secret", "hint"),
    [
        ({"AWS_ACCESS_KEY_ID": "AKIASECRET\nx"}, "AKIASECRET", "is there a line break in the access key ID"),
        ({"AWS_SESSION_TOKEN": "the-token\nx"}, "the-token", "or in the session token?"),
        ({"AWS_ENDPOINT_URL_S3": "http://ana:password@127.0.0.1:9"}, "password", "http://***@127.0.0.1:9/"),
    ],
)
def test_an_error_shows_no_credentials_and_no_signature(
    call: Callable[[S3Store], object],
    variables: dict[str, str],
    secret: str,
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
    }
    for name, value in {**known, **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    with pytest.raises(StoreError) as raised:
        call(S3Store("bucket", lock=ObjectLock("Governance", 1)))
    assert hint in str(raised.value)
    shown = "".join(traceback.format_exception(raised.value))
    assert secret not in shown
    assert "Signature=" not in shown
