"""The API server's answer when it refuses an object."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Refusal:
    """One reason to refuse an object; as text, the API server's own sentence."""

    field: str
    """Path from the root, such as `spec.search.parallel`; empty where the text names it."""
    text: str
    blocks: bool = False
    """Rules are not evaluated after it, since the object lacks the form that they expect."""

    def __str__(self) -> str:
        return f"{self.field}: {self.text}" if self.field else self.text


def unknown(field: str) -> Refusal:
    return Refusal("", f'unknown field "{field}"')


def invalid(field: str, value: Any, detail: str, *, blocks: bool = False) -> Refusal:
    return Refusal(field, f"Invalid value: {shown(value)}: {detail}", blocks)


def required(field: str, detail: str = "") -> Refusal:
    return Refusal(field, f"Required value{detail and f': {detail}'}", blocks=True)


def unsupported(field: str, value: Any, values: list[str], meant: str = "") -> Refusal:
    listed = ", ".join(json.dumps(v, ensure_ascii=False) for v in values)
    hint = f' (did you mean "{meant}"?)' if meant else ""
    return Refusal(field, f"Unsupported value: {shown(value)}: supported values: {listed}{hint}", blocks=True)


def too_long(field: str, limit: int) -> Refusal:
    return Refusal(field, f"Too long: may not be more than {limit} byte{'s'[: limit != 1]}", blocks=True)


def too_many(field: str, count: int, limit: int) -> Refusal:
    return Refusal(
        field, f"Too many: {count}: must have at most {limit} item{'s'[: limit != 1]}", blocks=True
    )


def duplicate(field: str, value: Any) -> Refusal:
    return Refusal(field, f"Duplicate value: {shown(value)}")


def shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
