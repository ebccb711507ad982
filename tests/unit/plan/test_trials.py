"""The next step of a trial, by the ends of its attempts."""

import pytest

from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Attempt
from comptroller.plan.trials import Progress, next_step
from comptroller.search.problem import Problem
from comptroller_api.study import Resources
from support.attempts import STUDY, TRIAL

PROBLEM = Problem.from_spec(STUDY.spec)


def after(*ends):
    attempts = []
    for number, end in enumerate(ends):
        one = Attempt(
            "u1",
            1,
            number,
            f"s-u1-0001-{number}",
            0,
            "small",
            "OnDemand",
            Resources(),
            (AccountName.of_study("u1"),),
        )
        one.end, one.reason, one.started, one.ended, one.seconds = end, f"why {number}", 10, 20, 10
        attempts.append(one)
    return next_step(Progress(TRIAL, tuple(attempts), {}, lost="", unread=False), STUDY, PROBLEM, {})


@pytest.mark.parametrize(
    ("ends", "outcome"),
    [
        (["BadAssignment"], "Failed"),
        (["Diverged"], "Infeasible"),
        (["NoGain"], "Infeasible"),
        (["LeaseExpired", "NoGain"], "Infeasible"),
        (["Error"] * 3, "Failed"),
        (["OutOfMemory"] * 3, "Infeasible"),
    ],
)
def test_an_end_that_would_come_again_ends_the_trial_and_says_why(ends, outcome):
    step = after(*ends)
    assert (step.outcome, step.rung) == (outcome, None)
    assert f"why {len(ends) - 1}" in step.reason


@pytest.mark.parametrize(
    "ends",
    [[], ["Suspended"], ["LeaseExpired"] * 9, ["Error"] * 2, ["Preempted", "NodeLost"], ["OutOfMemory"]],
)
def test_any_other_end_is_followed_by_another_attempt_at_the_same_rung(ends):
    step = after(*ends)
    assert (step.outcome, step.rung) == (None, 0)
