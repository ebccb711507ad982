"""The mistakes that are planted, by name, for each of the two kinds of tests that must find them."""

from collections.abc import Callable
from typing import TypeAlias

import pytest

Patch: TypeAlias = pytest.MonkeyPatch
Mutant: TypeAlias = Callable[[Patch], None]

MUTANTS: dict[str, Mutant] = {}
"""Those that the simulation must find."""
DECISIONS: dict[str, tuple[Mutant, str]] = {}
"""Those that the table `tests/unit/plan/rows` must find, each with the rule whose row has to fail."""


def mutant(plant: Mutant) -> Mutant:
    """Register a function that plants the mistake of its docstring."""
    MUTANTS[plant.__name__] = plant
    return plant


def decision(rule: str) -> Callable[[Mutant], Mutant]:
    """Register a function that plants a mistake and breaks `rule`, a row of `tests/unit/plan/rows`."""

    def register(plant: Mutant) -> Mutant:
        DECISIONS[plant.__name__] = plant, rule
        return plant

    return register
