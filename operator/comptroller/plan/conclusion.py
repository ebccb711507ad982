"""The end of a study: Complete only if at least one trial succeeded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from comptroller.ledger.accounts import AccountName
from comptroller.plan.leases import PERIOD, Leases
from comptroller.plan.steps import Steps
from comptroller.plan.trials import Progress, Step
from comptroller.plan.verdict import (
    BUDGET_EXHAUSTED,
    CEILING_REACHED,
    FAILURE_LIMIT_REACHED,
    NO_ROOM_FOR_A_LEASE,
    NO_TRIAL_SUCCEEDED,
    Verdict,
)
from comptroller.plan.view import StudyView
from comptroller.search.propose import propose
from comptroller_api.study import Study

_MONEY = frozenset({CEILING_REACHED, BUDGET_EXHAUSTED})


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A study's standing once its trials and its money are counted, and the next step of each trial."""

    verdict: Verdict
    steps: Steps
    blocked: AccountName | None = None
    """The account without room for a lease that was wanted."""


def conclude(  # noqa: PLR0911  (a decision table)
    view: StudyView, leases: Leases, verdict: Verdict, steps: Steps, unlikely: str | None
) -> Conclusion:
    """Stop at the ceiling, and end the study once nothing of it can change.

    Args:
        view: the study.
        leases: what it may still be granted.
        verdict: where it stands otherwise.
        steps: what its trials do then.
        unlikely: why no other trial is begun, though a lease would fit; `None`: one may be.
    """
    same = Conclusion(verdict, steps)
    if verdict.final or any(view.open):
        return same
    unended = [p for p in view.progress if steps[p.number].outcome is None]
    if verdict.state == "Ending" and verdict.reason != "Deleted":
        return Conclusion(concluded(verdict.reason, verdict.message, view.progress, steps), steps)
    if verdict.state != "Active":
        return same
    if not unended and unlikely is not None:
        return _without_money(view, leases.tightest, steps, unlikely)
    if not unended and (len(view.progress) >= view.problem.trials or _is_exhausted(view)):
        message = f"{len(view.progress)} trials have ended"
        return Conclusion(concluded("TrialsDone", message, view.progress, steps), steps)
    blocked = leases.fit().blocked
    if blocked is None:
        return same
    if blocked == PERIOD:
        message = "another lease would cross the end of a budget's period"
        return Conclusion(Verdict("Held", "PeriodEnding", message), steps)
    return _without_money(view, blocked, steps, leases.shortage())


def _is_exhausted(view: StudyView) -> bool:
    """Return whether the space has no configuration left to propose."""
    return not propose(view.problem, view.observations, 1, view.study.spec.search.seed, view.gone)


def _without_money(view: StudyView, account: AccountName, steps: Steps, why: str) -> Conclusion:
    """End the study at its ceiling; a budget may get more money, and says whether to wait for it."""
    name, ceiling = account.budget, view.study.spec.ceilings.spend
    if name is None:
        reason = CEILING_REACHED
        message = f"the ceiling of {ceiling.amount} {ceiling.currency} leaves {why}"
    else:
        reason = BUDGET_EXHAUSTED
        message = f"{account.in_words} has {why}"
        budget = next(one for one in view.world.budgets if one.metadata.name == name)
        if budget.spec.when_exhausted == "Suspend":
            return Conclusion(Verdict("Held", reason, message), steps, account)
    stopped = Step(outcome="BudgetStopped", reason=message)
    ended = {number: stopped if step.outcome is None else step for number, step in steps.items()}
    return Conclusion(concluded(reason, message, view.progress, ended), ended, account)


def too_many_failed(study: Study, steps: Steps) -> Verdict | None:
    """Return the end at the failure limit; trials that fail in this very pass count."""
    failed, limit = sum(step.outcome == "Failed" for step in steps.values()), study.spec.search.failure_limit
    if failed < limit:
        return None
    return Verdict("Ending", FAILURE_LIMIT_REACHED, f"{failed} trials failed, the limit is {limit}")


def concluded(reason: str, message: str, everything: Sequence[Progress], steps: Steps) -> Verdict:
    """Return the final verdict of a study that stops for `reason`.

    Args:
        reason: why no more trials run; the condition's reason where a trial succeeded.
        message: the same as a sentence.
        everything: all trials.
        steps: their outcomes, those of this very pass included.
    """
    if reason == FAILURE_LIMIT_REACHED:
        return Verdict("Failed", reason, message)
    if any(step.outcome == "Succeeded" for step in steps.values()):
        return Verdict("Complete", reason, message)
    if not any(p.attempts for p in everything) and reason in _MONEY:
        return Verdict("Failed", NO_ROOM_FOR_A_LEASE, message)
    if reason == NO_TRIAL_SUCCEEDED:  # its message says why already
        return Verdict("Failed", reason, message)
    return Verdict("Failed", NO_TRIAL_SUCCEEDED, _counted(everything, steps, message))


def _counted(everything: Sequence[Progress], steps: Steps, message: str) -> str:
    """Say how the trials ended, why the first of them did, and the `message`, each once."""
    if not everything:
        return message
    counts = Counter(steps[p.number].outcome or "not ended" for p in everything)
    ends = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    ends_of_all = f"none of {len(everything)} trials succeeded ({ends})"
    for p in sorted(everything, key=lambda p: p.number):
        if reason := steps[p.number].reason:
            found = f"{ends_of_all}; trial {p.number}: {reason}"
            return found if message in reason else f"{found}; {message}"
    return f"{ends_of_all}; {message}"
