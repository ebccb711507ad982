"""The trainer's description (`comptroller_api.trainer`) from its classes, and its rules for a trial."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from comptroller_api import trainer
from comptroller_api.data import Task
from comptroller_api.trainer import KINDS, Kind, Picked, contradictions, split
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.learning.training import Training
from comptroller_trainer.recipe.parse import Recipe
from comptroller_trainer.stages import registry
from comptroller_trainer.stages.registry import CHOICES, EXPORTERS

if TYPE_CHECKING:
    from comptroller_trainer.stages.base import Context

_BOUNDS = {
    "minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le", "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of", "maxLength": "max_length",
}  # fmt: skip
_SAME = ("type", "pattern", "default", "description", "only", "otherwise", "tasks", "network")


def description() -> trainer.Trainer:
    """Return the description of every stage that is installed."""
    levers = {
        lever: {name: _stage(lever, point.load()) for name, point in registry.known(choice.group).items()}
        for lever, choice in CHOICES.items()
    }
    choices = {
        lever: trainer.Choice(field=choice.field, default=choice.default) for lever, choice in CHOICES.items()
    }
    recipe = parameters(Training)
    exporters = registry.known(EXPORTERS)
    recipe["exports"] = recipe["exports"].model_copy(update={"names": tuple(exporters)})
    of_graph = [name for name, point in exporters.items() if point.load().holds_graph]
    given = {"choices": choices, "recipe": recipe, "of_graph": of_graph, **levers}
    return trainer.Trainer.model_validate(given)


def parameters(kind: type[BaseModel]) -> dict[str, trainer.Parameter]:
    """Return a stage's parameters by name."""
    return {
        name: _parameter(described)
        for name, described in kind.model_json_schema().get("properties", {}).items()
    }


def agree(names: Mapping[str, str], context: "Context") -> None:
    """Refuse stages that do not go together, before anything is spent.

    Args:
        names: the stages that each lever picked.
        context: the trial.

    Raises:
        AssignmentError: two stages, or a stage and the data, contradict each other.
    """
    picked = []
    for lever, choice in CHOICES.items():
        points = registry.known(choice.group)
        stages = tuple(_stage(lever, points[name].load()) for name in split(lever, names[lever]))
        picked.append(Picked(f"{lever}.{choice.field}", names[lever], stages))
    for broken in contradictions(picked, _task(context), _kind(len(context.shape))):
        raise AssignmentError(*broken)


def suits(recipe: Recipe, context: "Context") -> None:
    """Refuse a recipe that has no meaning for the task or the model, before anything is spent.

    Raises:
        AssignmentError: one of its values needs classes, numbers to predict, or a network.
    """
    network = _is_network(type(recipe.family))
    for name, parameter in parameters(Training).items():
        value = getattr(recipe.training, name)
        if rule := parameter.unfit(value, _task(context), network=network):
            raise AssignmentError(f"recipe.{name}", value, rule)


def _task(context: "Context") -> Task:
    return "Classification" if context.classes else "Regression"


def _stage(lever: str, stage: Any) -> trainer.Stage:
    common = {
        "parameters": parameters(stage.Parameters),
        "kinds": tuple(map(_kind, sorted(stage.kinds))),
        "classifies": stage.classifies,
    }
    match lever:
        case "model":
            prunable = tuple(map(_kind, sorted(stage.prunable)))
            given = {"network": _is_network(stage), "prunable": prunable, "layered": stage.layered}
            return trainer.Family(**common, **given)
        case "data":
            return trainer.Selector(**common, watches=stage.watches or stage.picks)
        case "augment":
            return trainer.Augmentation(**common, changes=stage.changes)
    from comptroller_trainer.compression.base import Compressor  # noqa: PLC0415 - torch

    return trainer.Compressor(
        **common, place=stage.place, channels=stage.channels, wants=stage.wants,
        changes_graph=stage.finish is not Compressor.finish,
    )  # fmt: skip


def _is_network(family: type) -> bool:
    from comptroller_trainer.models.base import EstimatorFamily  # noqa: PLC0415 - torch

    return not issubclass(family, EstimatorFamily)


def _kind(dimensions: int) -> Kind:
    return KINDS[dimensions - 1]


def _parameter(described: Mapping[str, Any]) -> trainer.Parameter:
    optional: Mapping[str, Any] = next(
        (one for one in described.get("anyOf", ()) if one["type"] != "null"), {}
    )
    schema = {**described, **optional}
    given = {key: schema[key] for key in _SAME if key in schema}
    given |= {bound: schema[key] for key, bound in _BOUNDS.items() if key in schema}
    return trainer.Parameter(**given, values=tuple(schema.get("enum", ())))
