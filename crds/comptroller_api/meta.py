"""What every kind shares: the group, metadata, conditions, and rules said in CEL.

The models are the source of the CRDs (`comptroller_api.crd`). What OpenAPI cannot say is a `Rule`;
the API server and `comptroller lint` both evaluate it and show its message.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

GROUP: Final = "comptroller.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "comptroller.dev/v1alpha1"
FINALIZER = f"{GROUP}/ledger"
"""Keeps a study, a Job and a pod until the books are closed on them."""
APPROVED = f"{GROUP}/approved"
APPROVED_BY = f"{GROUP}/approved-by"
"""An annotation of a study: the ceiling, such as '250.00', that somebody who may has approved."""

RULES = "x-kubernetes-validations"


@dataclass(frozen=True)
class Rule:
    """A CEL expression and the sentence that a person sees where it is false.

    Put it in an `Annotated` type, or in a model's `rules`. Write rules that do not fail on a malformed
    value: another rule says what is wrong with it.
    """

    expression: str
    message: str
    field: str = ""
    """Path below the node, such as `.parallel`, that the message is about."""
    told: str = ""
    """CEL: the sentence with the values in it, which a person then sees instead of `message`."""

    def to_json(self) -> dict[str, str]:
        out = {"rule": self.expression, "message": self.message}
        if self.told:
            out["messageExpression"] = self.told
        return out | {"fieldPath": self.field} if self.field else out

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        return {**schema, RULES: [*schema.get(RULES, []), self.to_json()]}


def matches(pattern: str, message: str) -> Rule:
    """A pattern said with a sentence; the CRD carries this rule and not the pattern beside it."""
    return Rule(f"self.matches(r'{pattern}')", message)


def quoting(*parts: str) -> str:
    """CEL: the parts put together, every second one an expression: `quoting("it is ", "self", ", not 1")`."""
    literal = [json.dumps(part) if place % 2 == 0 else part for place, part in enumerate(parts)]
    return " + ".join(literal)


MORE_THAN_ZERO = Rule("!self.matches('^-?[0.]+([eE].*|[a-zA-Z0.]*)$')", "must be more than zero")
"""For numbers, amounts, quantities and durations as text."""


@dataclass(frozen=True)
class ListMap:
    """The items of the list are known by one field; two with the same value are refused."""

    key: str

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}
        return {**handler(core_schema), **keys}


@dataclass(frozen=True)
class ListSet:
    """An item that is repeated is refused."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(core_schema), "x-kubernetes-list-type": "set"}


class Model(BaseModel):
    """A strict record; camelCase outside, snake_case inside; unknown fields are errors."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, allow_inf_nan=False
    )

    rules: ClassVar[tuple[Rule, ...]] = ()
    """What must hold between the fields, in CEL."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        if cls.rules:
            handler.resolve_ref_schema(schema)[RULES] = [rule.to_json() for rule in cls.rules]
        return schema

    def to_json(self) -> dict[str, Any]:
        """The object as Kubernetes sees it, absent fields absent."""
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


LabelValue = Annotated[
    str,
    Field(max_length=63, pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"),
    matches(
        r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        "must be a label's value: letters, digits, '-', '_' and '.', with a letter or digit at both ends",
    ),
]
"""The value of a Kubernetes label."""


class Condition(Model):
    """One aspect of the object's state (`metav1.Condition`)."""

    type: str = Field(max_length=64, description="The aspect, such as Complete.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: Annotated[
        str,
        Field(max_length=64, pattern=r"^[A-Za-z]([A-Za-z0-9]*)$"),
        matches(r"^[A-Za-z]([A-Za-z0-9]*)$", "must be one word in CamelCase"),
    ] = Field(description="Why, as one word.")
    message: str = Field(default="", max_length=1024, description="Why, as a sentence.")
    last_transition_time: str = Field(
        description="When the status last changed.", json_schema_extra={"format": "date-time"}
    )
    observed_generation: int = Field(
        default=0, ge=0, description="The metadata.generation that this was seen for."
    )


Conditions = Annotated[list[Condition], Field(max_length=16), ListMap("type")]
"""Conditions by type."""
