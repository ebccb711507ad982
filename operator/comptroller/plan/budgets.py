"""A budget's status: the period's money, thresholds passed, and whether the budget is exhausted."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from comptroller.actions import RecordBudget
from comptroller.plan.accounts import credit_purses, period_purse
from comptroller.plan.credits import accounts_of_credits
from comptroller.plan.membership import covers
from comptroller.plan.periods import mistakes, period
from comptroller.status import condition, stated
from comptroller.world import World
from comptroller_api.budget import Budget, BudgetStatus
from comptroller_api.money import to_amount


def record_budgets(world: World, without_room: Collection[str]) -> Iterator[RecordBudget]:
    """The statuses that differ from what is so.

    Args:
        world: the namespace.
        without_room: names of budgets that had no room for a lease that a study wanted.
    """
    for budget in sorted(world.budgets, key=lambda b: b.metadata.name):
        status = _status(budget, world, exhausted=budget.metadata.name in without_room)
        if status != budget.status:
            yield RecordBudget(budget, status)


@dataclass(frozen=True, slots=True)
class Position:
    """A budget's money in one period, credits included. Micro-units."""

    spent: int
    held: int
    offered: int
    """The amount, what was rolled over, and what credits paid or can still pay in this period."""

    def passed(self, percent: int) -> bool:
        """Return whether so much of what the period offers is spent; nothing is where nothing is spent."""
        return self.spent > 0 and self.spent * 100 >= self.offered * percent


def position(budget: Budget, world: World) -> Position:
    """Return what the period that holds `world.now` offers, has spent and holds."""
    books, own = world.books, world.books.accounts.get(period_purse(budget, world.now).account)
    if own is None:
        return Position(0, 0, 0)
    credits_ = [books.accounts[name] for name in accounts_of_credits(books, budget)]
    usable = [books.accounts.get(purse.account) for purse in credit_purses(budget, world.now)]
    paid = max(0, sum(credit.spent for credit in credits_) - own.credited)
    held = sum(credit.held for credit in credits_)
    left = sum(credit.room for credit in usable if credit)
    spent, held_now = own.spent + own.carried, own.held + own.pending
    offered = max(own.requested + own.moved, spent + held_now)
    return Position(spent + paid, held_now + held, offered + paid + held + left)


def _status(budget: Budget, world: World, *, exhausted: bool) -> BudgetStatus:
    spec, now = budget.spec, position(budget, world)
    wrong = mistakes(budget)
    passed = [percent for percent in sorted(spec.thresholds) if now.passed(percent)]
    offered = f"{to_amount(now.offered)} {spec.currency}"
    states = {
        "Ready": (not wrong, "Refused" if wrong else "Enforced", "; ".join(wrong)),
        "ThresholdReached": (
            bool(passed),
            f"At{passed[-1]}Percent" if passed else "Below",
            f"{passed[-1]}% of {offered} is spent" if passed else "",
        ),
        "Exhausted": (
            exhausted,
            "NoRoom" if exhausted else "Room",
            f"no room for another lease: {to_amount(now.spent)} of {offered} is spent" if exhausted else "",
        ),
    }
    before = {c.type: c for c in budget.status.conditions} if budget.status else {}
    return stated(
        BudgetStatus,
        budget.status,
        observed_generation=budget.metadata.generation,
        period=period(budget, world.now).label,
        spent=to_amount(now.spent),
        held=to_amount(now.held),
        ceiling=to_amount(now.offered),
        studies=sum(covers(world, budget, study) for study in world.studies),
        conditions=[
            condition(before.get(kind), kind, on, reason, message, budget.metadata.generation, world.now)
            for kind, (on, reason, message) in states.items()
        ],
    )
