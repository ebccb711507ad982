"""Failures that only S3 has."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from comptroller.ledger.journal import Journal
from comptroller.ledger.store import Ambiguous, Conflict, Exists, NoConditionalWrites, Unavailable
from comptroller.ledger.stores import S3Store
from comptroller.ledger.testing import ceiling

Answer = Callable[[bytes], bytes | None]


@contextlib.contextmanager
def server(answer: Answer) -> Iterator[tuple[str, list[bytes]]]:
    """Run an HTTP server that sends the result of `answer` for each request line, or nothing for `None`."""
    seen: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (part := connection.recv(65536)):
                        break
                    head += part
                if not head:
                    continue
                if b"100-continue" in head:
                    connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    connection.recv(65536)
                line = head.split(b"\r\n")[0]
                seen.append(line)
                if (reply := answer(line)) is not None:
                    connection.sendall(reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def reply(status: str, code: str = "", header: str = "") -> bytes:
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode() if code else b""
    return (
        f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{header}"
        "Content-Type: application/xml\r\n\r\n"
    ).encode() + body


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (reply("412 Precondition Failed", "PreconditionFailed"), Exists),
        (reply("409 Conflict", "ConditionalRequestConflict"), Conflict),
        (reply("403 Forbidden", "AccessDenied"), Unavailable),
        (reply("404 Not Found", "NoSuchBucket"), Unavailable),
        (reply("500 Internal Server Error", "InternalError"), Ambiguous),
        (reply("503 Service Unavailable", "SlowDown"), Ambiguous),
        (reply("502 Bad Gateway"), Ambiguous),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", Ambiguous),
        (reply("200 OK"), Ambiguous),
        (None, Ambiguous),
    ],
)
@pytest.mark.usefixtures("aws")
def test_a_create_is_sent_once_and_its_answer_is_understood(
    answer: bytes | None, expected: type[Exception]
) -> None:
    with server(lambda _: answer) as (endpoint, seen):
        store = S3Store("bucket", endpoint=endpoint)
        with pytest.raises(expected):
            store.create("key", b"data")
    assert seen == [b"PUT /bucket/key HTTP/1.1"]


@pytest.mark.usefixtures("aws")
def test_a_server_that_is_down_has_stored_nothing() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        store = S3Store("bucket", endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(Unavailable):
            store.create("key", b"data")
        with pytest.raises(Unavailable):
            store.delete("key")


@pytest.mark.usefixtures("aws")
def test_a_reply_that_does_not_come_is_ambiguous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comptroller.ledger.stores.s3._READ_SECONDS", 0.2)
    stop = threading.Event()

    def hang(_: bytes) -> None:
        stop.wait(10)

    with server(hang) as (endpoint, _):
        with pytest.raises(Ambiguous):
            S3Store("bucket", endpoint=endpoint).create("key", b"data")
        stop.set()


@pytest.mark.parametrize(
    "answer",
    [
        reply("403 Forbidden", "AccessDenied"),
        reply("404 Not Found", "NoSuchBucket"),
        reply("500 Internal Server Error", "InternalError"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        None,
    ],
)
@pytest.mark.usefixtures("aws")
def test_a_read_that_failed_is_never_taken_for_nothing_there(answer: bytes | None) -> None:
    with server(lambda _: answer) as (endpoint, _):
        store = S3Store("bucket", endpoint=endpoint)
        with pytest.raises(Unavailable):
            store.get("key")
        with pytest.raises(Unavailable):
            list(store.keys("p"))


@pytest.mark.usefixtures("aws")
def test_a_bucket_that_overwrites_is_refused_with_the_reason() -> None:
    with server(lambda _: reply("200 OK", header='ETag: "0"\r\n')) as (endpoint, _):
        store = S3Store("bucket", endpoint=endpoint)
        with pytest.raises(NoConditionalWrites, match="If-None-Match"):
            store.probe()


@pytest.mark.usefixtures("aws")
def test_a_probe_without_an_answer_is_no_proof() -> None:
    with server(lambda _: reply("500 Internal Server Error", "InternalError")) as (endpoint, _):
        store = S3Store("bucket", endpoint=endpoint)
        with pytest.raises(Unavailable):
            store.probe()


def test_the_endpoint_comes_from_the_environment(s3: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint, bucket = s3._writer.meta.endpoint_url, s3._bucket
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    S3Store(bucket, "/some/prefix/").create("k", b"1")
    assert s3.get("k") == b"1"


def test_two_prefixes_of_a_bucket_are_two_stores(s3: S3Store) -> None:
    other = S3Store(s3._bucket, "some/other", endpoint=s3._writer.meta.endpoint_url)
    s3.create("k", b"1")
    assert other.get("k") is None
    assert list(other.keys()) == []


def test_a_bucket_that_is_not_there_is_not_an_empty_journal(s3: S3Store) -> None:
    store = S3Store("no-such-bucket-here", endpoint=s3._writer.meta.endpoint_url)
    journal = Journal(store, "cluster", "ns", "writer", lambda: 0)
    with pytest.raises(Unavailable):
        journal.append([ceiling(1)])
