"""Mistakes that the simulation must find. Each function plants one, and its docstring says which.

Those with a number (M1) are what this project once did, of which the number is the case.
"""

from mutants.planted import budgets, leases, ledger, objects, order, prices, seen, settling
from mutants.planted.registry import MUTANTS

__all__ = ["MUTANTS", "budgets", "leases", "ledger", "objects", "order", "prices", "seen", "settling"]
