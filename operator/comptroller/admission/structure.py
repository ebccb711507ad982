"""A structural schema applied as the API server does: unknown fields, defaults, types, bounds, duplicates.

Knows the keywords that `comptroller_api.schema` writes, and no others.
"""

import re
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, date, datetime
from typing import Any

from comptroller.admission import refusal
from comptroller.admission.refusal import Refusal
from comptroller_api.schema import Schema

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
}


def unknown_fields(value: Any, schema: Schema, path: str = "") -> Iterator[Refusal]:
    """The fields that the schema does not have, which are all of an object that is where none belongs."""
    for key, child, below in _children(value, schema, path):
        if child is None and isinstance(value, dict):
            yield refusal.unknown(below)
        else:
            yield from unknown_fields(value[key], child or {}, below)


def default(value: Any, schema: Schema) -> None:
    """Drop nulls and fill in defaults, in place."""
    if isinstance(value, dict):
        for key in [k for k, v in value.items() if v is None]:
            del value[key]
        for name, child in schema.get("properties", {}).items():
            if name not in value and "default" in child:
                value[name] = deepcopy(child["default"])
    for key, child, _ in _children(value, schema, ""):
        if child is not None:
            default(value[key], child)


def refusals(value: Any, schema: Schema, path: str = "") -> Iterator[Refusal]:
    """Yield the refusals of `value` by the schema: types, enums, bounds, missing fields and duplicates."""
    expected = schema["type"]
    if not isinstance(value, _TYPES[expected]) or (expected == "integer" and isinstance(value, bool)):
        got = _type_name(value)
        detail = f'{path} in body must be of type {expected}: "{got}"'
        yield refusal.invalid(path, got, detail, blocks=True)
    if "enum" in schema and value not in schema["enum"]:
        yield refusal.unsupported(path, value, schema["enum"])
    match value:
        case str():
            yield from _text(value, schema, path)
        case bool():
            pass
        case int() | float():
            yield from _number(value, schema, path)
        case list():
            yield from _list(value, schema, path)
        case dict():
            yield from _object(value, schema, path)


def _children(value: Any, schema: Schema, path: str) -> Iterator[tuple[Any, Schema | None, str]]:
    """Each key or index of `value`, with its schema (None: it has none) and its path."""
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        for key in value:
            below = f"{path}.{key}" if path else str(key)
            yield key, fields.get(key, schema.get("additionalProperties")), below
    elif isinstance(value, list):
        for index in range(len(value)):
            yield index, schema.get("items"), f"{path}[{index}]"


def _text(value: str, schema: Schema, path: str) -> Iterator[Refusal]:
    if "maxLength" in schema and len(value) > schema["maxLength"]:
        yield refusal.too_long(path, schema["maxLength"])
    elif len(value) < schema.get("minLength", 0):
        limit = schema["minLength"]
        yield refusal.invalid(path, value, f"{path} in body should be at least {limit} chars long")
    form = schema.get("format")
    if form and not _is_format(value, form):
        detail = f"{path} in body must be of type {form}: {refusal.shown(value)}"
        yield refusal.invalid(path, value, detail, blocks=True)


def _number(value: float, schema: Schema, path: str) -> Iterator[Refusal]:
    if "maximum" in schema and value > schema["maximum"]:
        yield refusal.invalid(
            path, value, f"{path} in body should be less than or equal to {schema['maximum']}"
        )
    if "minimum" in schema and value < schema["minimum"]:
        yield refusal.invalid(
            path, value, f"{path} in body should be greater than or equal to {schema['minimum']}"
        )


def _list(value: list[Any], schema: Schema, path: str) -> Iterator[Refusal]:
    if "items" not in schema:
        return
    for index, item in enumerate(value):
        yield from refusals(item, schema["items"], f"{path}[{index}]")
    if len(value) < schema.get("minItems", 0):
        detail = f"{path} in body should have at least {schema['minItems']} items"
        yield refusal.invalid(path, len(value), detail)
    if len(value) > schema["maxItems"]:
        yield refusal.too_many(path, len(value), schema["maxItems"])
    yield from _duplicates(value, schema, path)


def _duplicates(value: list[Any], schema: Schema, path: str) -> Iterator[Refusal]:
    """The second appearance of an item of a set, or of a key of a map; a third is not reported."""
    keys: list[Any]
    match schema["x-kubernetes-list-type"]:
        case "set":
            keys = value
        case "map":
            names = schema["x-kubernetes-list-map-keys"]
            keys = [{k: item[k] for k in names if k in item} for item in value if isinstance(item, dict)]
        case _:
            return
    for index, key in enumerate(keys):
        if keys[:index].count(key) == 1:
            yield refusal.duplicate(f"{path}[{index}]", key)


def _object(value: dict[str, Any], schema: Schema, path: str) -> Iterator[Refusal]:
    if "maxProperties" in schema and len(value) > schema["maxProperties"]:
        yield refusal.too_many(path, len(value), schema["maxProperties"])
    for key, child, below in _children(value, schema, path):
        if child is not None:
            yield from refusals(value[key], child, below)
    for name in schema.get("required", []):
        if name not in value:
            yield refusal.required(f"{path}.{name}" if path else name)


def _type_name(value: Any) -> str:
    for name, types in (*_TYPES.items(), ("number", (float,)), ("null", (type(None),))):
        if isinstance(value, types) and not (name == "integer" and isinstance(value, bool)):
            return name
    raise TypeError(f"{type(value)} is no JSON")


def _is_format(value: str, form: str) -> bool:
    try:
        match form:
            case "date":
                date.fromisoformat(value)
                return re.fullmatch(r"\d{4}-\d{2}-\d{2}", value) is not None
            case "date-time":
                datetime.fromisoformat(value.upper()).astimezone(UTC)
                return re.match(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}", value) is not None
    except ValueError:
        return False
    raise TypeError(form)
