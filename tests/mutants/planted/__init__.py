"""Mistakes that tests must find: most the simulation, those in `decisions` the table of `tests/unit/plan`.

Each function plants one, and its docstring says which.

Those with a number (M1) are what this project once did, of which the number is the case.
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
