"""The description of a trainer: its stages, their parameters, and the rules for combining them.

`comptroller-trainer parameters --json` prints the description in any image; `trainer.json` next to this
module is that of the project's own trainer. The rules below are checked twice, with the same messages: by
`comptroller lint` before a pod is paid for, and by the trainer before it trains.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from comptroller_api.data import Task

Kind = Literal["tables", "sequences", "images"]
"""A kind of samples."""
KINDS: tuple[Kind, ...] = ("tables", "sequences", "images")
Place = Literal["alone", "parts", "training", "numbers"]
"""The position of a compressor in a sequence, in this order; an `alone` compressor is not combined."""
Value = bool | int | float | str

JOINT = "+"
"""The separator of the names of compressors that run in sequence."""
_PLACES: tuple[Place, ...] = ("parts", "training", "numbers")
_TYPES = {"integer": int, "number": float, "boolean": bool, "string": str}


class Broken(NamedTuple):
    """A rule that a trial's parameters break."""

    field: str
    value: str
    rule: str
    """The rule as a phrase that follows the value."""


class _Described(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Parameter(_Described):
    """One parameter of a stage, with its possible values."""

    type: Literal["integer", "number", "boolean", "string"]
    values: tuple[int | str, ...] = ()
    """The possible values; if empty, all of the type within the bounds."""
    ge: int | float | None = None
    gt: int | float | None = None
    le: int | float | None = None
    lt: int | float | None = None
    multiple_of: int | None = None
    pattern: str | None = None
    max_length: int | None = None
    only: Value | None = None
    """The only possible value together with this stage."""
    otherwise: str = ""
    """The reason why no other value is possible."""
    default: Value | None = None
    tasks: dict[str, Task] = {}
    """Values, as text, that only one task supports; `*`: all except the default."""
    network: bool = False
    """True if only networks support values other than the default."""
    names: tuple[str, ...] = ()
    """The existing names, where a value is `none` or names joined by `JOINT`."""
    description: str = ""

    def unfit(self, value: Value, task: Task, *, network: bool = True) -> str:
        """Return why `value` does not fit `task` or a family without a network, as a phrase, else ""."""
        if self.network and not network and value != self.default:
            return "needs a network"
        every = self.tasks.get("*") if value != self.default else None
        match self.tasks.get(str(value), every):
            case "Classification" if task == "Regression":
                return "needs classes, and the task is regression"
            case "Regression" if task == "Classification":
                return "needs numbers to predict, and the task is classification"
        return ""

    def read(self, text: str) -> Value:
        """Return the value that `text` denotes.

        Raises:
            ValueError: the trainer does not accept the value; the message is a phrase that follows the value.
        """
        try:
            value: Value = self._adapter.validate_strings(text)
        except ValidationError as error:
            raise ValueError(
                phrase(error.errors(include_url=False, include_context=False)[0]["msg"])
            ) from None
        if self.only is not None and value != self.only:
            raise ValueError(self.otherwise)
        if self.names and value != "none":
            if strange := set(given := text.split(JOINT)) - set(self.names):
                raise ValueError(f"names {', '.join(sorted(strange))}; there are {', '.join(self.names)}")
            if len(set(given)) < len(given):
                raise ValueError("must name each once")
        return value

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        kind: Any = Literal[self.values]
        if self.values:
            return TypeAdapter(kind)
        names = ("ge", "gt", "le", "lt", "multiple_of", "pattern", "max_length")
        bounds: dict[str, Any] = {n: v for n in names if (v := getattr(self, n)) is not None}
        if self.type == "number":
            bounds["allow_inf_nan"] = False
        kind = Annotated[_TYPES[self.type], Field(**bounds)]
        return TypeAdapter(kind)


class Stage(_Described):
    """A stage that an entry point names."""

    parameters: dict[str, Parameter]
    """The parameters, by their names without the lever."""
    kinds: tuple[Kind, ...] = KINDS
    """The kinds of samples that the stage supports."""
    classifies: bool = False
    """True if the stage needs classes, so that regression is refused."""


class Family(Stage):
    """A stage of `model`."""

    network: bool = True
    """True if the model is trained by gradients, batch by batch."""
    prunable: tuple[Kind, ...] = KINDS
    """The kinds of samples for which channels can be removed from the family's networks."""
    layered: bool = True
    """True if its networks have linear layers or convolutions before the last layer."""


class Selector(Stage):
    """A stage of `data`."""

    watches: bool = False
    """True if the selector chooses samples during training."""


class Augmentation(Stage):
    """A stage of `augment`."""

    changes: bool = True
    """True if the policy changes batches."""


class Compressor(Stage):
    """A stage of `compress`."""

    place: Place = "alone"
    channels: bool = False
    """True if the compressor removes channels."""
    wants: str = ""
    """The compressor that must follow, if any."""
    changes_graph: bool = False
    """True if the shipped graph computes something other than the module."""


class Choice(_Described):
    """The parameter that selects a lever's stage."""

    field: str
    default: str


class Trainer(_Described):
    """The description of a trainer."""

    choices: dict[str, Choice]
    """The choices by lever."""
    model: dict[str, Family]
    data: dict[str, Selector]
    augment: dict[str, Augmentation]
    compress: dict[str, Compressor]
    recipe: dict[str, Parameter]
    of_graph: tuple[str, ...] = ()
    """The values of `recipe.exports` that contain the shipped graph; the others contain the module."""

    @model_validator(mode="after")
    def _has_defaults(self) -> Self:
        for lever in ("model", "data", "augment", "compress"):
            if lever not in self.choices or self.choices[lever].default not in self.stages(lever):
                raise ValueError(f"choices.{lever} must name one of the stages of {lever} as the default")
        return self

    def stages(self, lever: str) -> Mapping[str, Stage]:
        """Return the stages of a lever with a choice, by name."""
        found: Mapping[str, Stage] = getattr(self, lever)
        return found


@cache
def reference() -> Trainer:
    """Return the description of the project's own trainer."""
    return Trainer.model_validate_json(files("comptroller_api").joinpath("trainer.json").read_bytes())


def phrase(message: str) -> str:
    """Return pydantic's message as a phrase that follows a value."""
    rule = message.removeprefix("Value error, ")
    return rule[:1].lower() + rule[1:]


def split(lever: str, name: str) -> list[str]:
    """Return the names of stages in the value of a lever's choice."""
    return name.split(JOINT) if lever == "compress" else [name]


def disorder(method: str, steps: Sequence[tuple[Place, str]]) -> str | None:
    """Return the fault in the order of compressors in `method`, as a phrase that follows it.

    Args:
        method: the names of the compressors, joined.
        steps: the place of each compressor, and the compressor that must follow it, if any.
    """
    names, places = method.split(JOINT), [place for place, _ in steps]
    if len(places) > 1 and "alone" in places:
        return f"{names[places.index('alone')]} stands alone"
    for name, (_, wanted) in zip(names, steps, strict=True):
        if wanted and wanted not in names:
            return f"has {name}, which wants {wanted} after it"
    ranks = [_PLACES.index(place) for place in places if place != "alone"]
    if ranks != sorted(set(ranks)):
        return "must first take parts out, then train, then change numbers, each once"
    return None


def unheld(exports: str, method: str, trainer: Trainer) -> str:
    """Return why an export in `exports` cannot contain the result of `method`, as a phrase, else ""."""
    changed = any(
        stage.changes_graph for name in split("compress", method) if (stage := trainer.compress.get(name))
    )
    module = [one for one in exports.split(JOINT) if one not in ("none", *trainer.of_graph)]
    if not changed or not module:
        return ""
    return f"has {module[0]}, which holds the module, not the graph that compress.method {method} changes"


class Picked(NamedTuple):
    """A lever's stages, with the value of the choice that selects them."""

    field: str
    """The name of the choice, such as `model.family`."""
    name: str
    stages: tuple[Stage, ...]

    def says(self, stage: Stage, rule: str) -> Broken:
        """Return the broken `rule` of `stage`, which the message names if there are several stages."""
        if len(self.stages) > 1:
            rule = f"has {self.name.split(JOINT)[self.stages.index(stage)]}, which {rule}"
        return Broken(self.field, self.name, rule)


def contradictions(picked: Sequence[Picked], task: Task, kind: Kind) -> Iterator[Broken]:
    """Yield the contradictions among the stages of a trial, or of some of its levers.

    Args:
        picked: at most one for each lever.
        task: the data's task.
        kind: the kind of the data's samples.
    """
    for one in picked:
        for stage in one.stages:
            if stage.classifies and task == "Regression":
                yield one.says(stage, "needs classes, and the task is regression")
            if kind not in stage.kinds:
                yield one.says(stage, f"needs {' or '.join(reversed(stage.kinds))}, not {kind}")
    for one in picked:
        for family in one.stages:
            if isinstance(family, Family) and kind in family.kinds:
                for other in picked:
                    yield from _beside(f"{one.field} {one.name}", family, other, kind)


def _beside(named: str, family: Family, other: Picked, kind: Kind) -> Iterator[Broken]:
    for stage in other.stages:
        match stage:
            case Compressor(place="parts" | "training") if not family.network:
                yield other.says(stage, f"needs a network, and {named} is not one")
            case Compressor(place="parts", channels=False) if not family.layered:
                yield other.says(stage, f"finds no layer before the last layer of {named}")
            case Compressor(channels=True) if kind not in family.prunable:
                where = f" for {kind}" if family.prunable else ""
                yield other.says(stage, f"cannot take channels out of {named}{where}")
            case Selector(watches=True) if not family.network:
                yield other.says(stage, f"chooses during training, and {named} is trained in one step")
            case Augmentation(changes=True) if not family.network:
                yield other.says(stage, f"has no batches to change with {named}")
