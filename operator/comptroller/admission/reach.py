"""The values that a study's space and baseline can combine in one trial."""

from collections.abc import Iterator, Sequence

from comptroller_api.space import Parameter
from comptroller_api.study import StudySpec

Values = tuple[str | None, ...]
"""Values of several parameters; `None`: the trial leaves the trainer's default."""


class Reach:
    """The trials that a study can propose, seen through a few parameters at a time."""

    def __init__(self, spec: StudySpec) -> None:
        self._space = {parameter.name: parameter for parameter in spec.space.parameters}
        self._fixed = {n: v for n, v in spec.baseline.items() if n not in self._space}

    def together(self, *names: str) -> list[Values]:
        """Return the parameters' combinations, in the order of `names`; an Integer or Float is its min."""
        order = list(dict.fromkeys(above for name in names for above in self._line(name)))
        found = (tuple(values[name] for name in names) for values in self._walk(order, {}, names))
        return list(dict.fromkeys(found))

    def _line(self, name: str) -> list[str]:
        """A parameter after those that its `when` depends on."""
        when = self._space[name].when if name in self._space else None
        return [*(self._line(when.parameter) if when else ()), name]

    def _walk(
        self, order: Sequence[str], values: dict[str, str | None], wanted: Sequence[str]
    ) -> Iterator[dict[str, str | None]]:
        if len(values) == len(order):
            yield values
            return
        name = order[len(values)]
        for value in self._choices(name, values, order, wanted):
            yield from self._walk(order, {**values, name: value}, wanted)

    def _choices(
        self, name: str, values: dict[str, str | None], order: Sequence[str], wanted: Sequence[str]
    ) -> Sequence[str | None]:
        parameter = self._space.get(name)
        if parameter is None:
            return (self._fixed.get(name),)
        if parameter.when and values[parameter.when.parameter] not in parameter.when.values:
            return (None,)
        if parameter.values is None:
            return (parameter.min,)
        return parameter.values if name in wanted else self._distinct(parameter, parameter.values, order)

    def _distinct(self, parameter: Parameter, values: Sequence[str], order: Sequence[str]) -> list[str]:
        """Return one value for each way in which the conditions of the others can turn out."""
        below = [p.when.values for n in order if (p := self._space.get(n)) and p.when
                 and p.when.parameter == parameter.name]  # fmt: skip
        ways = {tuple(value in listed for listed in below): value for value in reversed(values)}
        return list(ways.values())
