"""The mistakes that are planted, by name."""

from collections.abc import Callable
from typing import TypeAlias

import pytest

Patch: TypeAlias = pytest.MonkeyPatch
Mutant: TypeAlias = Callable[[Patch], None]

MUTANTS: dict[str, Mutant] = {}


def mutant(plant: Mutant) -> Mutant:
    """Register a function that plants a mistake; its docstring says which."""
    MUTANTS[plant.__name__] = plant
    return plant
