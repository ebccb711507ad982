"""Conversion of a pydantic model to the structural schema of a CustomResourceDefinition.

References are inlined, titles are dropped, `null` means absence, and each pattern is replaced by its CEL
rule, whose message a user understands. A schema without bounds is refused here, since the API server would
refuse its rules for their possible cost.
"""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from comptroller_api.meta import RULES, Model

Schema = dict[str, Any]
"""A JSON schema, or a node of one."""

_ORDER = (
    "description", "type", "format", "enum", "default", "minimum", "maximum", "minLength", "maxLength",
    "minItems", "maxItems", "maxProperties", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    RULES, "required", "properties", "items", "additionalProperties",
)  # fmt: skip
"""The order of a node's keys, which is also the list of those that may appear."""


class _Generator(GenerateJsonSchema):
    """A generator that keeps the declared order of fields, in which they are explained."""

    def sort(self, value: Any, parent_key: str | None = None) -> Any:
        del parent_key
        return value


def structural(model: type[Model], given: dict[str, Schema]) -> Schema:
    """Return the structural schema of `model`, beginning with the nodes `given` for some of its fields.

    Raises:
        ValueError: a node cannot be expressed in a structural schema, or lacks a bound or a description.
    """
    document = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    document["properties"] = {k: v for k, v in document["properties"].items() if k not in given}
    node = _node(document, document.pop("$defs", {}), model.__name__)
    node["properties"] = given | node["properties"]
    return node


def _node(raw: Schema, definitions: dict[str, Schema], path: str) -> Schema:
    node = _resolved(raw, definitions)
    node.pop("title", None)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    pattern = node.pop("pattern", None)
    if pattern is not None and not any(pattern in r["rule"] for r in node.get(RULES, [])):
        raise ValueError(f"{path}: a pattern needs a rule with a sentence")
    match node.get("type"):
        case "object":
            _object(node, definitions, path)
        case "array":
            node["items"] = _node(node["items"], definitions, f"{path}[]")
            node.setdefault("x-kubernetes-list-type", "atomic")
            _needs(node, path, "maxItems")
        case "string" if "enum" not in node and "format" not in node:
            _needs(node, path, "maxLength")
    unknown = set(node) - set(_ORDER)
    if unknown or "type" not in node:
        what = ", ".join(sorted(unknown)) or "a node without a type"
        raise ValueError(f"{path}: a structural schema cannot express {what}")
    return {key: node[key] for key in _ORDER if key in node}


def _object(node: Schema, definitions: dict[str, Schema], path: str) -> None:
    """Convert an object: fields for a record, `additionalProperties` for a map."""
    names = node.pop("propertyNames", None)
    patterns = node.pop("patternProperties", None)
    if "properties" in node:
        node.pop("additionalProperties", None)
        node["properties"] = {
            name: _node(child, definitions, f"{path}.{name}") for name, child in node["properties"].items()
        }
        for name, child in node["properties"].items():
            _needs(child, f"{path}.{name}", "description")
        return
    if (names or patterns) and RULES not in node:
        raise ValueError(f"{path}: the pattern of a map's keys needs a rule with a sentence")
    values = next(iter(patterns.values())) if patterns else node["additionalProperties"]
    node["additionalProperties"] = _node(values, definitions, f"{path}[]")
    _needs(node, path, "maxProperties")


def _resolved(raw: Schema, definitions: dict[str, Schema]) -> Schema:
    """Return a copy of `raw` with its reference resolved and `X | None` read as an X that may be absent.

    The field's own description and default take precedence over those of its type; rules are combined.
    """
    node = dict(raw)
    inner: Schema = {}
    if "$ref" in node:
        inner = _resolved(definitions[node.pop("$ref").removeprefix("#/$defs/")], definitions)
    elif "anyOf" in node:
        branches = [branch for branch in node.pop("anyOf") if branch != {"type": "null"}]
        if len(branches) != 1:
            raise ValueError("a structural schema cannot express a union")
        inner = _resolved(branches[0], definitions)
        if node.get("default", ...) is None:
            del node["default"]
    rules = [*inner.get(RULES, []), *node.get(RULES, [])]
    return {**inner, **node, **({RULES: rules} if rules else {})}


def _needs(node: Schema, path: str, key: str) -> None:
    if key not in node:
        raise ValueError(f"{path} needs {key}")
