"""Mistakes that tests must find: most the simulation, those in `decisions` the table `tests/unit/plan/rows`.

Each function plants the mistake of its docstring.

Mistakes with a number (M1) were once in this project.
"""

from mutants.planted import budgets, decisions, leases, ledger, objects, order, prices, seen, settling
from mutants.planted.registry import DECISIONS, MUTANTS

__all__ = [
    "DECISIONS",
    "MUTANTS",
    "budgets",
    "decisions",
    "leases",
    "ledger",
    "objects",
    "order",
    "prices",
    "seen",
    "settling",
]
