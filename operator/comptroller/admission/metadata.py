"""`ObjectMeta`, which the API server knows without a schema: its fields, and what names and labels may be."""

import re
from collections.abc import Iterator
from typing import Any

from comptroller.admission import refusal
from comptroller.admission.refusal import Refusal

_FIELDS = frozenset(
    {
        "annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers",
        "generateName", "generation", "labels", "managedFields", "name", "namespace", "ownerReferences",
        "resourceVersion", "selfLink", "uid",
    }
)  # fmt: skip
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = rf"({_NAME})?"

_IS_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must"
    " start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is"
    f" '{_SUBDOMAIN}')"
)
_IS_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and"
    " end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is"
    f" '{_LABEL}')"
)
_IS_KEY = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an"
    " alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
    f" '{_NAME}')"
)
_IS_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must"
    " start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used"
    f" for validation is '{_VALUE}')"
)
_LONGEST_LABEL = 63
_LONGEST_NAME = 253


def unknown_fields(metadata: Any) -> Iterator[Refusal]:
    """The fields that `ObjectMeta` does not have."""
    if isinstance(metadata, dict):
        for key in metadata.keys() - _FIELDS:
            yield refusal.unknown(f"metadata.{key}")


def refusals(metadata: dict[str, Any], *, namespaced: bool) -> Iterator[Refusal]:
    """Yield the faults of the name, the namespace and the labels."""
    malformed = list(_malformed(metadata))
    if malformed:
        yield from malformed
        return
    name, namespace = metadata.get("name"), metadata.get("namespace")
    if not name:
        yield refusal.required("metadata.name", "name or generateName is required")
    elif len(name) > _LONGEST_NAME:
        yield refusal.invalid("metadata.name", name, f"must be no more than {_LONGEST_NAME} bytes")
    elif not re.fullmatch(_SUBDOMAIN, name):
        yield refusal.invalid("metadata.name", name, _IS_SUBDOMAIN)
    if namespace and not namespaced:
        yield Refusal("metadata.namespace", "Forbidden: not allowed on this type")
    elif namespace and not re.fullmatch(_LABEL, namespace):
        yield refusal.invalid("metadata.namespace", namespace, _IS_LABEL)
    for key, value in (metadata.get("labels") or {}).items():
        yield from _label(key, value)


def _malformed(metadata: dict[str, Any]) -> Iterator[Refusal]:
    """Yield the fields that are not text, or not a map of text."""
    for field in ("name", "generateName", "namespace"):
        if metadata.get(field) is not None and not isinstance(metadata[field], str):
            yield refusal.invalid(f"metadata.{field}", metadata[field], "must be text", blocks=True)
    for field in ("labels", "annotations"):
        pairs = metadata.get(field)
        is_map = isinstance(pairs, dict) and all(isinstance(value, str) for value in pairs.values())
        if pairs is not None and not is_map:
            yield refusal.invalid(f"metadata.{field}", pairs, "must be a map of text to text", blocks=True)


def _label(key: str, value: str) -> Iterator[Refusal]:
    prefix, _, name = key.rpartition("/")
    if prefix and not re.fullmatch(_SUBDOMAIN, prefix):
        yield refusal.invalid("metadata.labels", key, f"prefix part {_IS_SUBDOMAIN}")
    if not name:
        yield refusal.invalid("metadata.labels", key, "name part must be non-empty")
    if len(name) > _LONGEST_LABEL:
        detail = f"name part must be no more than {_LONGEST_LABEL} bytes"
        yield refusal.invalid("metadata.labels", key, detail)
    if not re.fullmatch(_NAME, name):
        yield refusal.invalid("metadata.labels", key, _IS_KEY)
    if len(value) > _LONGEST_LABEL:
        yield refusal.invalid("metadata.labels", value, f"must be no more than {_LONGEST_LABEL} bytes")
    if not re.fullmatch(_VALUE, value):
        yield refusal.invalid("metadata.labels", value, _IS_VALUE)
