"""The reports that attempts left in object storage: read up to a bound, and checked."""

import hashlib
from typing import Protocol

from pydantic import ValidationError

from comptroller.ledger.books import Attempt
from comptroller.ledger.store import TooLarge
from comptroller.world import Unusable
from comptroller_api.contract import MAX_REPORT, Report
from comptroller_api.text import plain


class Artifacts(Protocol):
    """Read access to object storage: what trainers left, and what they are to find."""

    def get(self, uri: str, limit: int, /) -> bytes | None:
        """Return the object at `uri`, or `None` if it does not exist.

        Raises:
            TooLarge: it has more than `limit` bytes.
            StoreError: it cannot be read now.
        """
        ...

    def first(self, uri: str, /) -> str | None:
        """Return the URI of one object below the prefix `uri`, or `None` if there are no objects.

        Raises:
            StoreError: the prefix cannot be listed, as where nobody allows it.
        """
        ...


def read(
    artifacts: Artifacts, attempt: Attempt, uri: str, *, unverified: bool = False
) -> Report | Unusable | None:
    """Return the report of `attempt` at `uri`, why what is there cannot be used, or `None` for nothing.

    Args:
        artifacts: where it is.
        attempt: whose report it must be.
        uri: its place.
        unverified: also take a report whose digest the trainer did not leave.

    Raises:
        StoreError: it cannot be read now.
    """
    try:
        data = artifacts.get(uri, MAX_REPORT)
    except TooLarge:
        return Unusable(f"{uri} has more than {MAX_REPORT} bytes")
    if data is None:
        return None
    return _forged(attempt, uri, data, unverified=unverified) or checked(attempt, uri, data)


def _forged(attempt: Attempt, uri: str, data: bytes, *, unverified: bool) -> Unusable | None:
    """Return why the bytes are not those that the pod wrote, if so.

    The books have no digest if nobody saw the pod end, or if an older release closed the attempt.
    """
    found = hashlib.sha256(data).hexdigest()
    if attempt.report and attempt.report != found:
        return Unusable(
            f"ReportForged: the SHA-256 of {uri} is {found}, and the trainer's termination message gives"
            f" {attempt.report}"
        )
    if attempt.report == "" and not unverified:
        return Unusable(
            "ReportUnverified: the trainer's termination message must give the digest of its report, as"
            f" 'report sha256:{found[:8]}...'; it gives none"
        )
    return None


def checked(attempt: Attempt, uri: str, data: bytes) -> Report | Unusable:
    """Return the report in `data`, or why it cannot be used as that of `attempt`."""
    try:
        report = Report.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        return Unusable(plain(f"{uri} is not a report: {place}: {first['msg']}", 400))
    expected = {
        "name": attempt.name, "trial": attempt.trial, "attempt": attempt.number, "rung": attempt.rung,
    }  # fmt: skip
    for field, value in expected.items():
        if (found := getattr(report, field)) != value:
            return Unusable(plain(f"{uri} is of {field} {found}, not {value}", 400))
    if report.epochs < 1:
        return Unusable(f"{uri} says epochs 0; it must be at least 1")
    return report
