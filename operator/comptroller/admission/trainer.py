"""The faults that the trainer would find in a study's parameters, which the API server does not know.

Each finding is the reason why an attempt would end (exit 64) after its pod was paid for. Faults that only
data can show are left to the trainer, and so are relations between two numbers.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from difflib import get_close_matches
from itertools import combinations

from comptroller.admission import refusal
from comptroller.admission.reach import Reach
from comptroller.admission.refusal import Refusal
from comptroller_api.data import Data
from comptroller_api.metrics import ON_REQUEST
from comptroller_api.space import Parameter
from comptroller_api.study import Study
from comptroller_api.trainer import (
    KINDS,
    Broken,
    Compressor,
    Kind,
    Picked,
    Stage,
    Trainer,
    contradictions,
    disorder,
    split,
    unheld,
)
from comptroller_api.trainer import Parameter as Taken


def findings(study: Study, trainer: Trainer) -> list[Refusal]:
    """Return why the trainer would refuse a trial that the study can propose; empty: it would refuse none."""
    return list(dict.fromkeys(_Findings(study, trainer).all()))


class _Findings:
    """The check of one study against one trainer."""

    def __init__(self, study: Study, trainer: Trainer) -> None:
        spec = study.spec
        self._data, self._trainer, self._reach = spec.data, trainer, Reach(spec)
        self._metrics = [objective.metric for objective in spec.objectives]
        self._space = {p.name: (place, p) for place, p in enumerate(spec.space.parameters)}
        self._fixed = {n: v for n, v in spec.baseline.items() if n not in self._space}
        self._choices = {f"{lever}.{c.field}": lever for lever, c in trainer.choices.items()}
        self._kinds = _kinds(spec.data)

    def all(self) -> Iterator[Refusal]:
        for name in [*self._space, *self._fixed]:
            if name in self._choices:
                yield from self._stages(name, self._choices[name])
            else:
                yield from self._parameter(name)
        yield from self._pairs()
        yield from self._useless_recipe()
        yield from self._objectives()

    # -- names and bounds --------------------------------------------------------------------------------

    def _stages(self, name: str, lever: str) -> Iterator[Refusal]:
        """Yield the faults of the names of stages, and of their order."""
        known = self._trainer.stages(lever)
        if name in self._space and self._space[name][1].values is None:
            yield self._odd(name, ".type", self._space[name][1].type, "names stages: it must be Categorical")
            return
        for (value,) in self._reach.together(name):
            if value is None:
                continue
            names = split(lever, value)
            if not known.keys() >= set(names):
                yield refusal.unsupported(self._at(name, value), value, sorted(known))
            elif (rule := _disorder(value, [known[one] for one in names])) is not None:
                yield refusal.invalid(self._at(name, value), value, rule)

    def _parameter(self, name: str) -> Iterator[Refusal]:
        """Yield the faults of a parameter of a stage, under each stage that a trial can combine with it."""
        lever, _, field = name.partition(".")
        if lever == "recipe":
            own = self._trainer.recipe.get(field)
            yield from self._values(name, own) if own else (self._unknown(name, ""),)
            return
        choice, stages = self._trainer.choices[lever], self._trainer.stages(lever)
        without, refused = [], dict[Refusal, list[str]]()
        for given, value in self._reach.together(name, f"{lever}.{choice.field}"):
            picked = value or choice.default
            names = split(lever, picked)
            if given is None or not stages.keys() >= set(names):
                continue
            all_taken = [one for n in names if (one := stages[n].parameters.get(field))]
            if not all_taken:
                without.append(picked)
            for wrong in (wrong for taken in all_taken for wrong in self._values(name, taken)):
                refused.setdefault(wrong, []).append(picked)
        where = f" with {lever}.{choice.field} "
        for wrong, of in refused.items():
            yield replace(wrong, text=f"{wrong.text},{where}{', '.join(dict.fromkeys(of))}")
        if without:
            yield self._unknown(name, where + ", ".join(dict.fromkeys(without)))

    def _values(self, name: str, taken: Taken) -> Iterator[Refusal]:
        """Yield the refusals by a stage of all values of its own parameter."""
        if name in self._fixed:
            yield from self._read(name, self._fixed[name], taken)
            return
        parameter = self._space[name][1]
        if parameter.type == "Float" and (taken.type != "number" or taken.values):
            yield self._odd(name, ".type", "Float", f"writes fractions, and {name} takes {_what(taken)}")
            return
        wrong = [one for text in _ends(parameter) for one in self._read(name, text, taken)]
        yield from wrong
        if parameter.type != "Integer" or wrong:
            return
        if taken.multiple_of and taken.multiple_of > 1:
            rule = f"proposes others than multiples of {taken.multiple_of}; list those as Categorical"
            yield self._odd(name, ".type", "Integer", rule)
        elif taken.values:
            for whole in range(int(parameter.min or 0) + 1, int(parameter.max or 0)):
                yield from self._read(name, str(whole), taken)

    def _read(self, name: str, text: str, taken: Taken) -> Iterator[Refusal]:
        try:
            rule = taken.unfit(taken.read(text), self._data.task)
        except ValueError as error:
            rule = str(error)
        if rule:
            yield refusal.invalid(self._at(name, text), text, rule)

    def _unknown(self, name: str, where: str) -> Refusal:
        lever, _, field = name.partition(".")
        stages = [] if lever == "recipe" else self._trainer.stages(lever).values()
        known = {f for stage in stages for f in stage.parameters} or set(self._trainer.recipe)
        close = get_close_matches(field, known - {field})
        hint = f"; close: {', '.join(f'{lever}.{c}' for c in close)}" if close and field not in known else ""
        hint = hint or ("; give it a `when`" if field in known and name in self._space else "")
        at = f"{self._at(name)}.name" if name in self._space else self._at(name)
        return refusal.invalid(at, name, f"is not a parameter of the trainer{where}{hint}")

    # -- what goes together ------------------------------------------------------------------------------

    def _pairs(self) -> Iterator[Refusal]:
        """Yield contradictions to the data, and to another lever's stage if neither stage has one alone."""
        alone = {name: set[str]() for name in self._choices}
        for name in self._choices:
            for picked in self._picked(name):
                for broken in self._broken(picked):
                    alone[name].add(broken.value)
                    yield self._contradiction(broken, picked)
        for names in combinations(self._choices, 2):
            for picked in self._picked(*names):
                if not any(one.name in alone[one.field] for one in picked):
                    yield from (self._contradiction(broken, picked) for broken in self._broken(picked))

    def _picked(self, *names: str) -> Iterator[list[Picked]]:
        """The stages that a trial can have at once; unknown stages are reported elsewhere."""
        for values in self._reach.together(*names):
            picked = []
            for name, value in zip(names, values, strict=True):
                lever = self._choices[name]
                chosen, known = value or self._trainer.choices[lever].default, self._trainer.stages(lever)
                stages = tuple(known[one] for one in split(lever, chosen) if one in known)
                if len(stages) == len(split(lever, chosen)) and not _disorder(chosen, stages):
                    picked.append(Picked(name, chosen, stages))
            if len(picked) == len(names):
                yield picked

    def _broken(self, picked: Sequence[Picked]) -> list[Broken]:
        """Return the contradictions that hold for any kind of samples: those of the kind with the fewest."""
        found = [list(contradictions(picked, self._data.task, kind)) for kind in self._kinds]
        return min(found, key=len)

    def _contradiction(self, broken: Broken, picked: Sequence[Picked]) -> Refusal:
        others = "".join(
            f", with {one.field} {one.name}"
            for one in picked
            if one.field != broken.field and f"{one.field} {one.name}" not in broken.rule
        )
        return refusal.invalid(self._at(broken.field, broken.value), broken.value, broken.rule + others)

    def _useless_recipe(self) -> Iterator[Refusal]:
        """Yield settings of the recipe for which a model, or a compressor, has no use."""
        trainer = self._trainer
        for field, taken in trainer.recipe.items():
            name = f"recipe.{field}"
            if not taken.network or name not in {*self._space, *self._fixed}:
                continue
            for text, named in self._reach.together(name, "model.family"):
                chosen = named or trainer.choices["model"].default
                family = trainer.model.get(chosen)
                if text is None or family is None or family.network:
                    continue
                with suppress(ValueError):  # reported elsewhere
                    if rule := taken.unfit(taken.read(text), self._data.task, network=False):
                        rule += f", and model.family {chosen} is not one"
                        yield refusal.invalid(self._at(name, text), text, rule)
        if "recipe.exports" in {*self._space, *self._fixed}:
            for text, method in self._reach.together("recipe.exports", "compress.method"):
                if text and (rule := unheld(text, method or trainer.choices["compress"].default, trainer)):
                    yield refusal.invalid(self._at("recipe.exports", text), text, rule)

    def _objectives(self) -> Iterator[Refusal]:
        """Metrics that no trial, or not every one, would report."""
        for place, metric in enumerate(self._metrics):
            name, value = ON_REQUEST.get(metric, ("", ""))
            if name and any(given != value for (given,) in self._reach.together(name)):
                rule = f"is reported only with {name} {value}, which not every trial has"
                yield refusal.invalid(f"spec.objectives[{place}].metric", metric, rule)

    # -- where it stands ---------------------------------------------------------------------------------

    def _at(self, name: str, text: str | None = None) -> str:
        """The path of a parameter, and of one of its values."""
        if name not in self._space:
            return f"spec.baseline[{name}]"
        place, parameter = self._space[name]
        path = f"spec.space.parameters[{place}]"
        if text is None:
            return path
        if parameter.values is not None:
            return f"{path}.values[{parameter.values.index(text)}]" if text in parameter.values else path
        return f"{path}.{'min' if text == parameter.min else 'max'}"

    def _odd(self, name: str, below: str, value: str, rule: str) -> Refusal:
        return refusal.invalid(f"{self._at(name)}{below}", value, rule)


def _disorder(name: str, stages: Sequence[Stage]) -> str | None:
    steps = [(one.place, one.wants) for one in stages if isinstance(one, Compressor)]
    return disorder(name, steps) if steps else None


def _what(taken: Taken) -> str:
    return "listed values" if taken.values else {"integer": "whole numbers"}.get(taken.type, taken.type)


def _ends(parameter: Parameter) -> list[str]:
    return parameter.values or [str(parameter.min), str(parameter.max)]


def _kinds(data: Data) -> tuple[Kind, ...]:
    """Return the kinds of samples that the data may be."""
    match data.format:
        case "IDX" | "ImageFolder":
            return ("images",)
        case "MNIST1D":
            return ("sequences",)
        case "Bundled":
            return ("images",) if data.uri == "generated:digits" else ("tables",)
        case "NPZ":
            return ("tables", "images")
    return KINDS
