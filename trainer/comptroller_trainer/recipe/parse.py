"""A trial's parameters: text by name in the assignment, typed stages here.

Four levers pick a stage by name, and the stage declares what else its lever takes; the fifth, `recipe.*`,
is `Training`. All of it is declared in these classes: validation, defaults and the reference table
(`comptroller_trainer.recipe.reference`) come from nothing else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from comptroller_api.space import LEVERS
from comptroller_api.trainer import JOINT, split
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.learning.training import Training
from comptroller_trainer.runtime.assignment import explain
from comptroller_trainer.stages import registry
from comptroller_trainer.stages.base import P
from comptroller_trainer.stages.registry import CHOICES, EXPORTERS

if TYPE_CHECKING:
    from comptroller_trainer.augment.base import Augmentation
    from comptroller_trainer.compression.base import Compressor
    from comptroller_trainer.export.base import Exporter
    from comptroller_trainer.models.base import Family
    from comptroller_trainer.selection.base import Selector


@dataclass(frozen=True, slots=True)
class Recipe:
    """The stages of a trial, built from its parameters and not yet fitted."""

    family: "Family[Any]"
    selector: "Selector[Any]"
    augmentation: "Augmentation[Any]"
    compressor: "Compressor[Any]"
    training: Training
    exporters: "dict[str, Exporter]"
    names: dict[str, str]
    """The name of each lever's stage: `{"model": "cnn", ...}`."""


def parse(parameters: Mapping[str, str]) -> Recipe:
    """Return the recipe that `parameters` describe; absent ones have their defaults.

    Raises:
        AssignmentError: an unknown parameter, an unknown stage, or a value out of bounds.
    """
    levers: dict[str, dict[str, str]] = {lever: {} for lever in LEVERS}
    for name, value in parameters.items():
        lever, _, field = name.partition(".")
        levers[lever][field] = value
    _check_names(Training.model_fields, levers["recipe"], "recipe")
    training = _typed(Training, levers["recipe"], "recipe")
    names = {lever: levers[lever].pop(choice.field, choice.default) for lever, choice in CHOICES.items()}
    # Every name is looked up before the first class is imported: a wrong one is known at once.
    points = {
        lever: [
            registry.find(choice.group, f"{lever}.{choice.field}", name)
            for name in split(lever, names[lever])
        ]
        for lever, choice in CHOICES.items()
    }
    exports = [] if training.exports == "none" else training.exports.split(JOINT)
    if len(set(exports)) < len(exports):
        raise AssignmentError("recipe.exports", training.exports, "must name each once")
    forms = {name: registry.find(EXPORTERS, "recipe.exports", name) for name in exports}
    from comptroller_trainer.compression.pipeline import pipeline  # noqa: PLC0415 - torch

    built = {}
    for lever, several in points.items():
        stages = [point.load() for point in several]
        known = {field for stage in stages for field in stage.Parameters.model_fields}
        _check_names(known, levers[lever], lever, f" with {lever}.{CHOICES[lever].field} {names[lever]!r}")
        steps = []
        for stage in stages:
            own = {k: v for k, v in levers[lever].items() if k in stage.Parameters.model_fields}
            steps.append(stage(_typed(stage.Parameters, own, lever)))
        built[lever] = steps
    (family,), (selector,), (augmentation,) = built["model"], built["data"], built["augment"]
    if selector.buys:
        _check_bought(names["data"], training, built["compress"])
    compressor = pipeline(names["compress"], built["compress"])
    exporters: dict[str, Exporter] = {name: point.load()() for name, point in forms.items()}
    for name, exporter in exporters.items():
        if compressor.changes_graph and not exporter.holds_graph:
            rule = f"holds the module, not the graph that compress.method {names['compress']!r} changes"
            raise AssignmentError("recipe.exports", name, rule)
        exporter.check()
    return Recipe(family, selector, augmentation, compressor, training, exporters, names)


def _check_bought(selector: str, training: Training, compressors: "Iterable[Compressor[Any]]") -> None:
    """Refuse settings that read labels that `selector` has not bought."""
    given = [(f"recipe.{field}", getattr(training, field)) for field in ("class_weights", "oversample")]
    given += [
        (f"compress.{one.labelled}", getattr(one.parameters, one.labelled))
        for one in compressors
        if one.labelled
    ]
    for field, value in given:
        if value != "none":
            rule = f"reads the labels of all training samples, and data.selector {selector!r} buys a part"
            raise AssignmentError(field, value, rule)


def _check_names(fields: Iterable[str], given: Mapping[str, str], lever: str, where: str = "") -> None:
    for name, value in given.items():
        if name not in fields:
            known = ", ".join(f"{lever}.{field}" for field in sorted(fields)) or "none"
            raise AssignmentError(f"{lever}.{name}", value, f"is not a parameter{where}; known: {known}")


def _typed(kind: type[P], given: dict[str, str], lever: str) -> P:
    try:
        return kind.model_validate_strings(given)
    except ValidationError as error:
        raise explain(error, f"{lever}.") from error
