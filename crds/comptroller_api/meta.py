"""The parts that every kind shares: the group, metadata, conditions, and CEL rules.

The models are the source of the CRDs (`comptroller_api.crd`). A condition that OpenAPI cannot express is a
`Rule`; the API server and `comptroller lint` both evaluate rules and show their messages.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

GROUP: Final = "comptroller.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "comptroller.dev/v1alpha1"
FINALIZER = f"{GROUP}/ledger"
"""The finalizer that keeps a study, a Job and a pod until their books are closed."""
APPROVED = f"{GROUP}/approved"
"""An annotation of a study: the ceiling, such as '250.00', that an authorised user has approved."""
APPROVED_BY = f"{GROUP}/approved-by"
"""An annotation of a study: the name of that user."""

RULES = "x-kubernetes-validations"


@dataclass(frozen=True)
class Rule:
    """A CEL expression and the sentence that a user sees where the expression is false.

    Put a rule in an `Annotated` type, or in a model's `rules`. A rule must not fail on a malformed value;
    another rule reports that value.
    """

    expression: str
    message: str
    field: str = ""
    """The path below the node, such as `.parallel`, that the message is about."""
    message_expression: str = ""
    """CEL for the sentence with its values; if set, users see its result instead of `message`."""

    def to_json(self) -> dict[str, str]:
        out = {"rule": self.expression, "message": self.message}
        if self.message_expression:
            out["messageExpression"] = self.message_expression
        return out | {"fieldPath": self.field} if self.field else out

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        return {**schema, RULES: [*schema.get(RULES, []), self.to_json()]}


def matches(pattern: str, message: str) -> Rule:
    """Return the rule for a pattern, with a sentence; the CRD has this rule and not the pattern."""
    return Rule(f"self.matches(r'{pattern}')", message)


def quoting(*parts: str) -> str:
    """Return CEL that joins text and expressions in turn: `quoting("it is ", "self", ", not 1")`."""
    literal = [json.dumps(part) if place % 2 == 0 else part for place, part in enumerate(parts)]
    return " + ".join(literal)


MORE_THAN_ZERO = Rule("!self.matches('^-?[0.]+([eE].*|[a-zA-Z0.]*)$')", "must be more than zero")
"""The rule for numbers, amounts, quantities and durations that are text."""


@dataclass(frozen=True)
class ListMap:
    """A list whose items are identified by one field; two items with the same value are refused."""

    key: str

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}
        return {**handler(core_schema), **keys}


@dataclass(frozen=True)
class ListSet:
    """A list in which a repeated item is refused."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(core_schema), "x-kubernetes-list-type": "set"}


class Model(BaseModel):
    """A strict record: camelCase in JSON, snake_case in Python; unknown fields are errors."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, allow_inf_nan=False
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """The conditions between the fields, in CEL."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        if cls.rules:
            handler.resolve_ref_schema(schema)[RULES] = [rule.to_json() for rule in cls.rules]
        return schema

    def to_json(self) -> dict[str, Any]:
        """Return the object as Kubernetes sees it, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class Metadata(BaseModel):
    """The part of `ObjectMeta` that the controller reads."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    name: str
    namespace: str = "default"
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: list[str] = Field(default_factory=list)


SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
"""The pattern of a DNS subdomain (RFC 1123), without its limit of 253 characters."""
QUALIFIED_NAME = "[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
"""The pattern of the name behind the prefix of a label's key or of a resource."""
LABEL_KEY = rf"^({SUBDOMAIN}/)?{QUALIFIED_NAME}$"
"""The pattern of a label's and of a taint's key."""
LONGEST_LABEL_KEY = 253 + 1 + 63
_LABEL_PREFIX = "^([^/]{1,253}/)?[^/]*$"
_LABEL_VALUE = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
_A_LABEL_VALUE = (
    "must be a label's value: letters, digits, '-', '_' and '.', with a letter or digit at both ends"
)

LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY, max_length=LONGEST_LABEL_KEY)]
"""The key of a Kubernetes label: a name, or a DNS subdomain, a slash and a name."""

LabelValue = Annotated[
    str,
    Field(max_length=63, pattern=_LABEL_VALUE),
    Rule(
        f"self.matches(r'{_LABEL_VALUE}')",
        _A_LABEL_VALUE,
        message_expression=quoting("'", "self", f"' {_A_LABEL_VALUE}"),
    ),
]
"""A value of a Kubernetes label."""

Labels = Annotated[
    dict[LabelKey, LabelValue],
    Field(max_length=16),
    Rule(
        f"self.all(key, key.matches(r'{LABEL_KEY}') && key.matches(r'{_LABEL_PREFIX}'))",
        "each key must be a label's key such as 'team' or 'example.com/team': at most 63 letters, digits,"
        " '-', '_' and '.', with a letter or digit at both ends, after an optional DNS name and a slash",
    ),
]
"""Labels that an object must carry; a selector with a malformed key would select nothing.

The rule cannot quote the key: the API server cannot bound the cost of a text of unknown length.
"""


class Condition(Model):
    """One aspect of the object's state (`metav1.Condition`)."""

    type: str = Field(max_length=64, description="The name of the aspect, such as Complete.")
    status: Literal["True", "False", "Unknown"] = Field(description="True if the condition holds.")
    reason: Annotated[
        str,
        Field(max_length=64, pattern=r"^[A-Za-z]([A-Za-z0-9]*)$"),
        matches(r"^[A-Za-z]([A-Za-z0-9]*)$", "must be one word in CamelCase"),
    ] = Field(description="The reason, as one word.")
    message: str = Field(default="", max_length=1024, description="The reason, as a sentence.")
    last_transition_time: str = Field(
        description="The time of the last change of the status.", json_schema_extra={"format": "date-time"}
    )
    observed_generation: int = Field(
        default=0, ge=0, description="The metadata.generation for which the condition was set."
    )


Conditions = Annotated[list[Condition], Field(max_length=16), ListMap("type")]
"""Conditions by type."""
