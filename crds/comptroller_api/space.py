"""The joint search space: bounded parameters, grouped by lever, some of them conditional."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from comptroller_api.meta import ListMap, ListSet, Model, Rule, matches
from comptroller_api.quantity import Number, is_number, is_whole

LEVERS = ("model", "data", "augment", "compress", "recipe")

_NAME = r"^(model|data|augment|compress|recipe)\.[a-z][a-z0-9_]*$"
_BY_LEVER = "must be named after a lever (model, data, augment, compress or recipe), such as 'model.width'"

ParameterName = Annotated[str, StringConstraints(pattern=_NAME, max_length=64), matches(_NAME, _BY_LEVER)]
"""`<lever>.<name>`: the lever is the part of the trial that the parameter changes."""

Value = Annotated[str, Field(max_length=64, description="A parameter's value as text.")]
"""A parameter's value as text; the trainer parses it as the parameter's type."""

SetValue = Annotated[str, Field(max_length=256, description="A parameter's value as text.")]
"""A value that is set and not searched, such as the address of weights."""

Values = Annotated[
    dict[ParameterName, SetValue],
    Field(max_length=64),
    Rule(f"self.all(name, name.matches(r'{_NAME}'))", f"each parameter {_BY_LEVER}"),
]
"""Parameter values by name."""


class When(Model):
    """The condition under which the parameter exists: a categorical parameter has one of these values."""

    parameter: ParameterName = Field(description="The other parameter's name.")
    values: Annotated[list[Value], Field(min_length=1, max_length=32), ListSet()] = Field(
        description="The values of the other parameter with which this parameter exists."
    )


class Parameter(Model):
    """One dimension of the space."""

    name: ParameterName = Field(description="The lever, a point, and the name, such as model.width.")
    type: Literal["Categorical", "Integer", "Float"] = Field(description="The kind of its values.")
    values: Annotated[list[Value], Field(min_length=1, max_length=32), ListSet()] | None = Field(
        default=None, description="The choices of a Categorical parameter."
    )
    min: Number | None = Field(default=None, description="The smallest value of an Integer or Float.")
    max: Number | None = Field(default=None, description="The largest value of an Integer or Float.")
    scale: Literal["Linear", "Log"] = Field(
        default="Linear", description="The distribution of an Integer or Float between min and max."
    )
    when: When | None = None

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(self.type == 'Categorical') == has(self.values)",
            "a Categorical parameter, and no other, has values",
        ),
        Rule(
            "(self.type != 'Categorical') == has(self.min)",
            "an Integer or Float parameter, and no other, has min",
        ),
        Rule(
            "(self.type != 'Categorical') == has(self.max)",
            "an Integer or Float parameter, and no other, has max",
        ),
        Rule(
            "!has(self.min) || !has(self.max) ||"
            f" !{is_number('self.min')} || !{is_number('self.max')} || double(self.min) < double(self.max)",
            "min must be less than max",
            ".min",
        ),
        Rule(
            f"self.scale != 'Log' || !has(self.min) || !{is_number('self.min')} || double(self.min) > 0.0",
            "min must be more than zero where scale is Log",
            ".min",
        ),
        Rule(
            "self.scale == 'Linear' || self.type != 'Categorical'",
            "scale is for Integer and Float parameters",
            ".scale",
        ),
        Rule(
            f"self.type != 'Integer' || !has(self.min) || {is_whole('self.min')}",
            "min must be whole where type is Integer",
            ".min",
        ),
        Rule(
            f"self.type != 'Integer' || !has(self.max) || {is_whole('self.max')}",
            "max must be whole where type is Integer",
            ".max",
        ),
        Rule(
            "!has(self.when) || self.when.parameter != self.name",
            "when must name another parameter",
            ".when.parameter",
        ),
    )


class Space(Model):
    """The space that is searched. Immutable once a trial exists."""

    parameters: Annotated[list[Parameter], Field(min_length=1, max_length=64), ListMap("name")] = Field(
        description="The dimensions, by name."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.parameters.all(p, !has(p.when) ||"
            " self.parameters.exists(q, q.name == p.when.parameter && q.type == 'Categorical'))",
            "when must name a Categorical parameter of the space",
            ".parameters",
        ),
        Rule(
            "self.parameters.all(p, !has(p.when) || self.parameters.all(q,"
            " q.name != p.when.parameter || !has(q.values) || p.when.values.all(v, v in q.values)))",
            "when must list values that the parameter it names has",
            ".parameters",
        ),
        Rule(
            "self.parameters.all(p, !has(p.when) || self.parameters.all(q,"
            " q.name != p.when.parameter || !has(q.when) || self.parameters.all(r,"
            " r.name != q.when.parameter || !has(r.when))))",
            "when may be nested only once: a parameter that one with when names may have a when itself,"
            " and the one that it names may not",
            ".parameters",
        ),
    )  # fmt: skip


Assignment = dict[str, str]
"""Parameter values by name; a parameter whose `when` does not hold is absent."""


def active(parameters: tuple[Parameter, ...] | list[Parameter], values: Assignment) -> list[Parameter]:
    """Return the parameters whose `when` holds for `values`, in the space's order."""
    return [p for p in parameters if p.when is None or values.get(p.when.parameter) in p.when.values]
