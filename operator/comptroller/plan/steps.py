"""The next step of each trial of a study."""

from collections.abc import Mapping
from typing import TypeAlias

from comptroller.plan import trials
from comptroller.plan.trials import Progress, Step
from comptroller.plan.verdict import BUDGET_EXHAUSTED, CEILING_REACHED, Verdict
from comptroller.plan.view import StudyView
from comptroller.search.halving import decide

Steps: TypeAlias = Mapping[int, Step]
"""The next step of each trial, by its number."""


def next_steps(view: StudyView, verdict: Verdict) -> Steps:
    """Return each trial's next step under a verdict; a recorded outcome stays."""
    decisions = decide(view.problem, view.observations)

    def step(p: Progress) -> Step:
        if p.outcome is not None:
            return Step(outcome=p.outcome, reason=p.trial.status.reason if p.trial.status else "")
        if p.open is not None:
            return Step()
        found = Step() if p.unread else trials.next_step(p, view.study, view.problem, decisions)
        ends = verdict.state == "Ending" or verdict.final
        return _ended(verdict) if ends and found.outcome is None else found

    return {p.number: step(p) for p in view.progress}


def _ended(verdict: Verdict) -> Step:
    """Return the step of a trial that is ended because its study ends."""
    spent = verdict.reason in {CEILING_REACHED, BUDGET_EXHAUSTED}
    return Step(outcome="BudgetStopped" if spent else "Cancelled", reason=verdict.message)
