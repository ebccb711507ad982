"""Cleaning of text from others, so that a terminal, an event, a condition or a log can show it safely."""

import re
from typing import Annotated

from pydantic import AfterValidator

_SEQUENCE = re.compile(
    # Escape sequences of terminals: CSI (colours, cursor), OSC and similar ones (titles, links), all others.
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[P\]X^_]|[\x90\x9d\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)


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
