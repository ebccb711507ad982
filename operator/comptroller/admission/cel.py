"""The CEL rules of a schema, evaluated with the runtime of CEL's own authors."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from cel_expr_python import cel

from comptroller.admission import refusal
from comptroller.admission.refusal import Refusal
from comptroller_api.meta import RULES
from comptroller_api.quantity import exact
from comptroller_api.schema import Schema

_OLD = re.compile(r"\boldSelf\b")


def refusals(value: Any, old: Any, schema: Schema, path: str = "") -> Iterator[Refusal]:
    """The rules of `schema` that `value` breaks; one about `oldSelf` counts only where there is an old value.

    Lists that are maps are compared without regard to order, and their items with those of the same key.
    """
    self, old_self = _comparable(value, schema), _comparable(old, schema)
    for rule in schema.get(RULES, []):
        if old is None and _OLD.search(rule["rule"]):
            continue
        result = _program(rule["rule"]).eval(data={"self": self, "oldSelf": old_self})
        if result.type() == cel.Type.ERROR:
            detail = f"{result.value()} evaluating rule: {rule['message']}"
            yield refusal.invalid(path, schema["type"], detail)
        elif result.value() is not True:
            message = _message(rule, self, old_self)
            yield refusal.invalid(_child(path, rule.get("fieldPath", "")), schema["type"], message)
    if isinstance(value, dict):
        for key, item in value.items():
            below = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if below is not None:
                before = old.get(key) if isinstance(old, dict) else None
                named = key in schema.get("properties", {})
                yield from refusals(item, before, below, _child(path, key) if named else f"{path}[{key}]")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from refusals(item, _same(item, old, schema), schema["items"], f"{path}[{index}]")


def _message(rule: dict[str, str], self: Any, old_self: Any) -> str:
    """The sentence with the values in it, where there is one and it comes out as one line of text."""
    if (template := rule.get("messageExpression")) is None:
        return rule["message"]
    result = _program(template).eval(data={"self": self, "oldSelf": old_self})
    text = result.value() if result.type() == cel.Type.STRING else ""
    line = str(text).strip()
    return line if line and "\n" not in line else rule["message"]


def _child(path: str, below: str) -> str:
    return f"{path}.{below.lstrip('.')}".strip(".")


def _same(item: Any, old: Any, schema: Schema) -> Any:
    """The old item with the same key, where the list is a map."""
    keys = schema.get("x-kubernetes-list-map-keys")
    if not keys or not isinstance(old, list):
        return None
    return next((o for o in old if all(o.get(k) == item.get(k) for k in keys)), None)


def _comparable(value: Any, schema: Schema) -> Any:
    """`value` with the items of sets and maps in an order of their own, so that equal ones compare equal."""
    if isinstance(value, dict):
        fields, rest = schema.get("properties", {}), schema.get("additionalProperties", {})
        return {key: _comparable(item, fields.get(key, rest)) for key, item in value.items()}
    if isinstance(value, list):
        items = [_comparable(item, schema.get("items", {})) for item in value]
        match schema.get("x-kubernetes-list-type"):
            case "set":
                return sorted(items)
            case "map":
                keys = schema["x-kubernetes-list-map-keys"]
                return sorted(items, key=lambda item: [str(item.get(k)) for k in keys])
        return items
    return value


def _is_sorted(items: list[Any]) -> bool:
    plain = [_plain(item) for item in items]
    return plain == sorted(plain)


def _plain(value: Any) -> Any:
    """Return Python's own value of one that CEL's runtime may have wrapped."""
    return value.plain_value() if hasattr(value, "plain_value") else value


@cache
def _environment() -> cel.Env:
    """CEL with those of Kubernetes' own functions that the rules use."""
    is_sorted = cel.FunctionDecl(
        "isSorted",
        [
            cel.Overload(
                "list_is_sorted",
                return_type=cel.Type.BOOL,
                parameters=[cel.Type.List(cel.Type.DYN)],
                is_member=True,
                impl=_is_sorted,
            )
        ],
    )
    # A float stands for a quantity; rules call the function on quantities of ours alone.
    of_text = cel.FunctionDecl(
        "quantity",
        [
            cel.Overload(
                "string_to_quantity",
                return_type=cel.Type.DOUBLE,
                parameters=[cel.Type.STRING],
                is_member=False,
                impl=lambda text: float(exact(_plain(text))),
            )
        ],
    )
    is_less = cel.FunctionDecl(
        "isLessThan",
        [
            cel.Overload(
                "quantity_is_less_than",
                return_type=cel.Type.BOOL,
                parameters=[cel.Type.DOUBLE, cel.Type.DOUBLE],
                is_member=True,
                impl=lambda one, other: _plain(one) < _plain(other),
            )
        ],
    )
    return cel.NewEnv(
        variables={"self": cel.Type.DYN, "oldSelf": cel.Type.DYN},
        extensions=[cel.CelExtension("kubernetes", [is_sorted, of_text, is_less])],
    )


@cache
def _program(expression: str) -> cel.Expression:
    return _environment().compile(expression)
