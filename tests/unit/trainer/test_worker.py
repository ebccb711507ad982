"""An error of an attempt leads to its exit code, and its reason to the termination message."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
import torch

from comptroller_trainer import worker
from comptroller_trainer.errors import (
    AssignmentError,
    DivergedError,
    MissingError,
    NoGainError,
    UnavailableError,
)
from comptroller_trainer.runtime import protocol
from comptroller_trainer.runtime.stop import StopSignal


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AssignmentError("a", 1, "is wrong"), 64),
        (DivergedError("recipe.lr", "100", "made training diverge"), 65),
        (NoGainError("compress.method", "int8_static", "made it slower"), 66),
        (UnavailableError("s3://bucket/x: could not connect"), 69),
        (MissingError("s3://bucket/x: no such bucket"), 69),
        (torch.OutOfMemoryError("CUDA out of memory"), 71),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory"),
            71,
        ),
        (MemoryError(), 71),
        (RuntimeError("something else"), 1),
    ],
)
def test_an_error_gives_its_exit_code_and_its_reason(
    error: Exception,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    described: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(worker, "_attempt", fail)
    monkeypatch.setattr(StopSignal, "listen", lambda _: None)
    monkeypatch.setenv("COMPTROLLER_ASSIGNMENT", json.dumps(described()))
    monkeypatch.setenv(protocol.TERMINATION_LOG_ENV, str(tmp_path / "why"))
    assert worker.main([]) == code
    assert str(error) in (tmp_path / "why").read_text()


@pytest.mark.parametrize(
    ("variable", "secret"), [("AWS_ACCESS_KEY_ID", "AKIASECRET"), ("AWS_SESSION_TOKEN", "the-token")]
)
def test_a_malformed_credential_is_shown_neither_in_the_reason_nor_in_the_log(
    variable: str,
    secret: str,
    monkeypatch: pytest.MonkeyPatch,
    described: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("sys.stderr", log := io.StringIO())
    monkeypatch.setattr(StopSignal, "listen", lambda _: None)
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # it keeps the credentials that it found first
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    for name, value in {
        "COMPTROLLER_ASSIGNMENT": json.dumps(described(artifacts="s3://bucket/trial")),
        protocol.TERMINATION_LOG_ENV: str(tmp_path / "why"),
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        variable: f"{secret}\nx",
    }.items():
        monkeypatch.setenv(name, value)
    code = worker.main([])
    structlog.reset_defaults()
    assert code == protocol.EXIT_UNAVAILABLE
    why = (tmp_path / "why").read_text()
    assert "is there a line break in the access key ID" in why
    assert "Traceback" in log.getvalue()
    for shown in (why, log.getvalue()):
        assert secret not in shown
        assert "Signature=" not in shown
