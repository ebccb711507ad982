"""What a budget's status tells: the period's money, thresholds passed, whether it is exhausted."""

from collections.abc import Collection, Iterator

from comptroller.actions import RecordBudget
from comptroller.plan.accounts import covers, credit_purses, period_purse
from comptroller.plan.periods import period
from comptroller.plan.verdict import mistakes
from comptroller.status import condition
from comptroller.world import World
from comptroller_api.budget import Budget, BudgetStatus
from comptroller_api.money import to_amount, to_micro


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


def _status(budget: Budget, world: World, *, exhausted: bool) -> BudgetStatus:
    spec, current = budget.spec, period_purse(budget, world.now)
    paying = (*credit_purses(budget, world.now), current)
    known = [account for purse in paying if (account := world.books.accounts.get(purse.account))]
    spent, held = sum(account.spent for account in known), sum(account.held for account in known)
    ceiling = sum(account.ceiling for account in known)
    wrong = mistakes(budget)
    passed = [t for t in sorted(spec.thresholds) if spent * 100 >= to_micro(spec.amount) * t]
    money = f"{to_amount(spent)} of {to_amount(ceiling)} {spec.currency}"
    told = {
        "Ready": (not wrong, "Refused" if wrong else "Enforced", "; ".join(wrong)),
        "ThresholdReached": (
            bool(passed),
            f"At{passed[-1]}Percent" if passed else "Below",
            f"{passed[-1]}% of {spec.amount} {spec.currency} is spent" if passed else "",
        ),
        "Exhausted": (
            exhausted,
            "NoRoom" if exhausted else "Room",
            f"no room for another lease: {money} is spent" if exhausted else "",
        ),
    }
    before = {c.type: c for c in budget.status.conditions} if budget.status else {}
    return BudgetStatus(
        observed_generation=budget.metadata.generation,
        period=period(budget, world.now).label,
        spent=to_amount(spent),
        held=to_amount(held),
        ceiling=to_amount(ceiling),
        studies=sum(covers(budget, study) for study in world.studies),
        conditions=[
            condition(before.get(kind), kind, on, reason, message, budget.metadata.generation, world.now)
            for kind, (on, reason, message) in told.items()
        ],
    )
