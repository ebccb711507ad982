"""Text from others steers no terminal, and plain text is unchanged."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller_api.text import plain, without_credentials


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("column 'clas' does not exist", "column 'clas' does not exist"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1bcreset", "reset"),
        ("first\r\nsecond\tthird", "first second third"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}txt.exe", "txt.exe"),
        ("zero\N{ZERO WIDTH SPACE}width", "zero width"),
        ("bell\x07\x08\x7f", "bell"),
        ("line\N{LINE SEPARATOR}break", "line break"),
        ("Größe 図", "Größe 図"),
        ("\ud800", ""),
    ],
)
def test_only_what_prints_is_left(text: str, shown: str) -> None:
    assert plain(text, 512) == shown


@given(st.text(st.characters(codec=None)) | st.text("\x1b[]0;m\x07\x9b\x9d\\ab \n"), st.integers(0, 64))
def test_no_character_of_the_result_steers_a_terminal(text: str, limit: int) -> None:
    shown = plain(text, limit)
    assert len(shown) <= limit
    assert all(unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"} for c in shown)
    assert shown.isprintable()
    assert plain(shown, limit) == shown
    shown.encode()


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert plain(text, len(text)) == text


_SIGNED = (
    "Credential=AKIA/20261128/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=28a22f"
)
_HIDDEN = (
    "*** (not shown, since it may be a credential; is there a line break in the access key ID or in the"
    " session token?)"
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"Invalid header value b'AWS4-HMAC-SHA256 {_SIGNED}'", f"Invalid header value {_HIDDEN}"),
        ("character(s) in header value: 'Bearer a\\nb'", f"character(s) in header value: {_HIDDEN}"),
        (
            f"it is malformed: AWS4-HMAC-SHA256 {_SIGNED}",
            "it is malformed: AWS4-HMAC-SHA256 Credential=***, SignedHeaders=host;x-amz-date, Signature=***",
        ),
        (
            f"malformed: {_SIGNED.replace('AKIA', 'a b' + chr(10) + 'c')}.",
            "malformed: Credential=***, SignedHeaders=host;x-amz-date, Signature=***",
        ),
        (
            "http://s3/k?X-Amz-Credential=AKIA%2F1&X-Amz-Date=1&X-Amz-Security-Token=t0&X-Amz-Signature=28a",
            "http://s3/k?X-Amz-Credential=***&X-Amz-Date=1&X-Amz-Security-Token=***&X-Amz-Signature=***",
        ),
        ("?AWSAccessKeyId=AKIA&Signature=28a%3D&Expires=1", "?AWSAccessKeyId=***&Signature=***&Expires=1"),
        ("host:s3\nx-amz-security-token:t0\n\nhost", "host:s3\nx-amz-security-token:***\n\nhost"),
        ("connect to http://ana:pass@s3:9000/k", "connect to http://***@s3:9000/k"),
        (
            "SignatureDoesNotMatch: the key of ana@example.com",
            "SignatureDoesNotMatch: the key of ana@example.com",
        ),
        ("Could not connect to http://s3:9000/k@1", "Could not connect to http://s3:9000/k@1"),
    ],
)
def test_the_credentials_of_a_request_are_hidden_and_nothing_else(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
