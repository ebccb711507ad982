"""Trials to propose, to promote and to prefer: pure functions of what was observed."""

from comptroller.search.problem import Constraint, Objective, Observation, Problem, Proposal, RungValues
from comptroller.search.propose import SUPPORTED_ENGINES

__all__ = [
    "SUPPORTED_ENGINES",
    "Constraint",
    "Objective",
    "Observation",
    "Problem",
    "Proposal",
    "RungValues",
]
