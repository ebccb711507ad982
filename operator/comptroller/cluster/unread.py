"""Objects that do not parse: why, whether a newer release wrote them, and what is known of them."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from comptroller.cluster.bounded import TOO_LARGE
from comptroller.cluster.jobs import STUDY_UID
from comptroller.world import Refused
from comptroller_api.budget import Selector
from comptroller_api.text import plain

_VALUE = 128
"""Characters shown of a value that is refused; the rule comes after it."""
_UNKNOWN = frozenset({"extra_forbidden", "literal_error", "enum"})
"""The API server holds objects to the CRD. Where it lets through what is unknown here, the CRD is newer."""
_NUMBERED = re.compile(r"-([0-9]{4,9})$")


def refused(kind: str, body: dict[str, Any], error: Exception) -> Refused:
    """Return what is known of an object of `kind` that cannot be read because of `error`."""
    meta = body["metadata"]
    why, newer = (f"the object: {body[TOO_LARGE]}", False) if TOO_LARGE in body else _why(error)
    study, number = _trial(body) if kind == "Trial" else ("", None)
    selector = _selector(body) if kind == "Budget" else None
    return Refused(kind, meta["name"], meta["uid"], why, newer, study, number, selector)


def _why(error: Exception) -> tuple[str, bool]:
    if not isinstance(error, ValidationError):
        return plain(f"the object: {type(error).__name__}: {error}", 512), False
    errors = error.errors(include_url=False, include_context=False)
    first = next((one for one in errors if one["type"] not in _UNKNOWN), errors[0])
    newer = first["type"] in _UNKNOWN
    place = ".".join(str(part) for part in first["loc"]) or "the object"
    hint = "; a newer release may have written it" if newer else ""
    return plain(f"{place}: {first['input']!r:.{_VALUE}}: {first['msg'][:256]}{hint}", 512), newer


def _trial(body: dict[str, Any]) -> tuple[str, int | None]:
    """The study's uid and the number of a trial, from its spec, or else from its label and its name."""
    spec, meta = body.get("spec"), body["metadata"]
    given = spec if isinstance(spec, dict) else {}
    study, number = given.get("studyUid"), given.get("number")
    if not isinstance(study, str):
        study = str((meta.get("labels") or {}).get(STUDY_UID, ""))
    if not isinstance(number, int) or isinstance(number, bool):
        found = _NUMBERED.search(meta["name"])
        number = int(found[1]) if found else None
    return study, number


def _selector(body: dict[str, Any]) -> Mapping[str, str] | None:
    """Return the labels that a budget selects by, where at least these can be read."""
    spec = body.get("spec")
    try:
        return (
            Selector.model_validate(spec.get("selector", {})).match_labels if isinstance(spec, dict) else None
        )
    except ValidationError:
        return None
