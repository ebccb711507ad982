"""Configurations of a mixed, conditional space: drawn, written as text, compared, enumerated."""

import math
from collections.abc import Callable, Container, Iterator
from typing import TypeAlias

import numpy as np

from comptroller.search.problem import Problem
from comptroller_api.space import Assignment, Parameter

Key: TypeAlias = tuple[tuple[str, str | float], ...]
"""A configuration so that two which mean the same are equal."""

_DIGITS = 6
_DRAWS = 64
"""Random draws before the space is walked; also the draws of a Float that a walk looks at."""


class Space:
    """The searched parameters of a problem, a parameter after the one that its `when` names."""

    def __init__(self, problem: Problem) -> None:
        names = {p.name for p in problem.parameters}
        self.fixed = {name: value for name, value in problem.baseline.items() if name not in names}
        self._baseline = problem.baseline
        self.parameters = _parents_first(problem.parameters, decided=set(self.fixed))

    def build(self, choose: Callable[[Parameter], str]) -> Assignment:
        """Return a configuration; `choose` is called for each parameter that exists under earlier values."""
        values = dict(self.fixed)
        for parameter in self.parameters:
            if _exists(parameter, values):
                values[parameter.name] = choose(parameter)
        return dict(sorted(values.items()))

    def baseline(self) -> Assignment:
        """The reference recipe; what it leaves open is the centre of its range, or the first choice."""
        return self.build(lambda p: self._baseline.get(p.name) or centre(p))

    def draw(self, rng: np.random.Generator) -> Assignment:
        """A configuration with each parameter uniform on its scale."""
        return self.build(lambda p: draw(p, rng))

    def key(self, values: Assignment) -> Key:
        """Equal for configurations that mean the same, such as `0.1` and `0.10` for a Float."""
        return tuple((p.name, _meaning(p, values[p.name])) for p in self.parameters if p.name in values)

    def unseen(self, rng: np.random.Generator, seen: Container[Key]) -> Assignment | None:
        """A configuration whose key is not in `seen`; `None` where the space has no other.

        Drawn where that works; where most have been seen, the first unseen one on a walk through
        all configurations in random order, which visits at most one more than have been seen.
        """
        for _ in range(_DRAWS):
            values = self.draw(rng)
            if self.key(values) not in seen:
                return values
        walk = self._walk(rng, 0, dict(self.fixed))
        return next((dict(sorted(v.items())) for v in walk if self.key(v) not in seen), None)

    def _walk(self, rng: np.random.Generator, at: int, values: Assignment) -> Iterator[Assignment]:
        if at == len(self.parameters):
            yield values
            return
        parameter = self.parameters[at]
        if not _exists(parameter, values):
            yield from self._walk(rng, at + 1, values)
            return
        for text in _choices(parameter, rng):
            yield from self._walk(rng, at + 1, values | {parameter.name: text})


def bounds(parameter: Parameter) -> tuple[float, float]:
    """The least and the greatest value of an Integer or Float."""
    if parameter.min is None or parameter.max is None:
        raise ValueError(f"{parameter.name} is {parameter.type} and has no range")
    return float(parameter.min), float(parameter.max)


def whole_bounds(parameter: Parameter) -> tuple[int, int]:
    """The same of an Integer."""
    return int(parameter.min or 0), int(parameter.max or 0)


def number(text: str) -> float | None:
    """The finite number that `text` writes; `None` where it writes none, as a baseline may."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def write(parameter: Parameter, value: float) -> str:
    """The text of a value of an Integer or Float: six significant digits, never outside its range."""
    if parameter.type == "Integer":
        least, greatest = whole_bounds(parameter)
        return str(min(max(round(value), least), greatest))
    low, high = bounds(parameter)
    # The API's numbers have no plus sign in the exponent; adding zero turns -0.0 into 0.0.
    text = f"{value + 0.0:.{_DIGITS}g}".replace("e+", "e")
    if float(text) < low:
        return str(parameter.min)
    if float(text) > high:
        return str(parameter.max)
    return text


def centre(parameter: Parameter) -> str:
    """The middle of a range on its scale; the first choice of a Categorical."""
    if parameter.values is not None:
        return parameter.values[0]
    low, high = bounds(parameter)
    return write(
        parameter, math.sqrt(low) * math.sqrt(high) if parameter.scale == "Log" else (low + high) / 2
    )


def draw(parameter: Parameter, rng: np.random.Generator) -> str:
    """A value, uniform on the parameter's scale."""
    at = float(rng.random())
    if parameter.values is not None:
        return parameter.values[int(at * len(parameter.values))]
    low, high = bounds(parameter)
    # Each whole number has as wide a stretch as the others; `write` brings a value on the rim back.
    rim = 0.5 if parameter.type == "Integer" else 0.0
    low, high = low - rim, high + rim
    if parameter.scale == "Log":
        return write(parameter, math.exp(math.log(low) + at * (math.log(high) - math.log(low))))
    return write(parameter, low + at * (high - low))


def _choices(parameter: Parameter, rng: np.random.Generator) -> Iterator[str]:
    """Every value in random order; for a Float, as many as a walk may need."""
    if parameter.values is not None:
        yield from (parameter.values[i] for i in rng.permutation(len(parameter.values)))
    elif parameter.type == "Integer":
        low, high = whole_bounds(parameter)
        start, span = int(draw(parameter, rng)) - low, high - low + 1
        # From a random start around the circle, since a range may be too long to shuffle.
        yield from (str(low + (start + step) % span) for step in range(span))
    else:
        texts = [draw(parameter, rng) for _ in range(_DRAWS)]
        texts += [write(parameter, bound) for bound in bounds(parameter)]
        yield from dict.fromkeys(texts)


def _meaning(parameter: Parameter, text: str) -> str | float:
    value = None if parameter.type == "Categorical" else number(text)
    return text if value is None else value


def _exists(parameter: Parameter, values: Assignment) -> bool:
    when = parameter.when
    return when is None or values.get(when.parameter) in when.values


def _parents_first(parameters: tuple[Parameter, ...], decided: set[str]) -> tuple[Parameter, ...]:
    """Sorted so that a condition can be read when its parameter's turn comes.

    Parameters whose conditions wait for each other in a circle can never exist, and are left out.
    """
    ordered: list[Parameter] = []
    left = list(parameters)
    while ready := [p for p in left if p.when is None or p.when.parameter in decided]:
        ordered += ready
        decided |= {p.name for p in ready}
        left = [p for p in left if p.name not in decided]
    return tuple(ordered)
