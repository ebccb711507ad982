"""Cleaning of text from others, so that a terminal, an event, a condition or a log can show it safely.

Text from others may steer a terminal, and the text of a failed request may quote the request's credentials.
"""

import re
from typing import Annotated

from pydantic import AfterValidator

_SEQUENCE = re.compile(
    # Escape sequences of terminals: CSI (colours, cursor), OSC and similar ones (titles, links), all others.
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[P\]X^_]|[\x90\x9d\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)

_HEADER = re.compile(r"(\bheader value:? )b?['\"].*", re.DOTALL)
"""The end of the errors by which http.client and requests refuse a header: the header's value."""
_HIDDEN_HEADER = (
    r"\1*** (not shown, since it may be a credential; is there a line break in the access key ID or in the"
    " session token?)"
)
_SIGNED = re.compile(
    r"\b((?:x-amz-)?(?:credential|signature|security-token)=|awsaccesskeyid=|x-amz-security-token:\s?)"
    # A malformed access key ID may have any character, so it ends where the next parameter begins.
    r"(?:[^,]*(?=,\s*SignedHeaders=)|[^\s,&<>\"']+)",
    re.IGNORECASE,
)
"""The parts of a signed request (AWS Signature Version 4 and 2), as a header, a query or a canonical text."""
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/@\s\"']+@", re.IGNORECASE)
"""The user and the password of a URL."""


def without_credentials(text: str) -> str:
    """Return the text of an error of an HTTP or S3 client without the credentials of the request.

    Clients and servers quote a request that they refuse: its `Authorization` header, its session token, or a
    URL with a password. Each of them becomes `***`.
    """
    shown = _HEADER.sub(_HIDDEN_HEADER, text)
    return _USER.sub(r"\1***@", _SIGNED.sub(r"\1***", shown))


def plain(text: str, limit: int) -> str:
    """Return `text` on one line, without terminal escape sequences and characters that do not print.

    Control characters, line breaks, bidirectional overrides and zero-width characters become spaces, and runs
    of spaces become one. The result has at most `limit` characters; plain text that fits stays as it is.
    """
    # Text beyond the limit need not be cleaned; twice the limit leaves room for the removed characters.
    visible = _SEQUENCE.sub("", text[: 2 * limit + 64])
    shown = "".join(character if character.isprintable() else " " for character in visible)
    return " ".join(shown.split())[:limit].rstrip()


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must contain only printable characters, on one line")
    return text


Printable = Annotated[str, AfterValidator(_printable)]
"""Text on one line without control, format or other invisible characters."""
