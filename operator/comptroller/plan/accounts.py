"""Which accounts a study draws on, and the ceilings that the books have yet to learn.

A study's leases hold on one account for each ceiling over it: its own, each covering budget's, and each
budget's cap per study. A budget pays from its credits first, the one that ends soonest before the others, and
then from the amount of its period. A lease is paid from one of them whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from comptroller.ledger.books import Books
from comptroller.ledger.entries import Ceiling, Transfer
from comptroller.plan.periods import end_of_day, period
from comptroller.world import World
from comptroller_api.budget import Budget
from comptroller_api.money import to_micro
from comptroller_api.study import Study


@dataclass(frozen=True, slots=True)
class Purse:
    """An account that can pay, and the moment (unix seconds) that no lease paid from it may cross."""

    account: str
    amount: int
    """Micro-units that are declared for it."""
    ends: int | None = None


def covers(budget: Budget, study: Study) -> bool:
    """Whether `budget` pays for `study`."""
    wanted = budget.spec.selector.match_labels
    return all(study.metadata.labels.get(label) == value for label, value in wanted.items())


def covering(world: World, study: Study) -> list[Budget]:
    """The budgets that pay for `study`, by name."""
    return sorted((b for b in world.budgets if covers(b, study)), key=lambda b: b.metadata.name)


def study_account(study: Study) -> str:
    """The account of the study's own ceiling."""
    return f"study/{study.metadata.uid}"


def budget_of(account: str) -> str | None:
    """The name of the budget that `account` belongs to; `None` for a study's own."""
    kind, name = account.split("/")[:2]
    return name if kind == "budget" else None


def period_purse(budget: Budget, now: int) -> Purse:
    """The amount of the period that holds `now`."""
    current = period(budget, now)
    account = f"budget/{budget.metadata.name}/{current.label}"
    return Purse(account, to_micro(budget.spec.amount), current.ends)


def credit_purses(budget: Budget, now: int) -> list[Purse]:
    """The credits that can still be used, the one that ends soonest first.

    One without a proper day pays nothing; its budget is refused.
    """
    amounts: dict[str, int] = {}
    for credit in budget.spec.credits:
        amounts[credit.until] = amounts.get(credit.until, 0) + to_micro(credit.amount)
    purses = [
        Purse(f"budget/{budget.metadata.name}/credit/{day}", amount, end_of_day(budget, day))
        for day, amount in sorted(amounts.items())
    ]
    return [purse for purse in purses if purse.ends is not None and now < purse.ends]


def cap_purse(budget: Budget, study: Study) -> Purse | None:
    """What this one study may have of the budget, where that is limited."""
    cap = budget.spec.cap_per_study
    if cap is None:
        return None
    return Purse(f"budget/{budget.metadata.name}/cap/{study.metadata.uid}", to_micro(cap))


def purses(world: World, study: Study) -> tuple[tuple[Purse, ...], ...]:
    """For each ceiling over the study, the accounts that can pay, in the order in which they are used."""
    own = Purse(study_account(study), to_micro(study.spec.ceilings.spend.amount))
    found: list[tuple[Purse, ...]] = [(own,)]
    for budget in covering(world, study):
        found.append((*credit_purses(budget, world.now), period_purse(budget, world.now)))
        if (cap := cap_purse(budget, study)) is not None:
            found.append((cap,))
    return tuple(found)


def missing_ceilings(world: World) -> Iterator[Ceiling]:
    """Ceilings that were declared or changed and are not in the books yet."""
    said = set()
    for budget in world.budgets:
        if budget.spec.rollover == "Unspent":  # a period in which nothing ran leaves something, too
            purse = period_purse(budget, world.now)
            said.add(purse.account)
            yield from _ceiling(world.books, purse, budget.spec.currency)
    for study in world.studies:
        own, *shared = purses(world, study)
        currencies = {b.metadata.name: b.spec.currency for b in world.budgets}
        for purse in (*own, *(purse for options in shared for purse in options)):
            currency = currencies.get(budget_of(purse.account) or "", study.spec.ceilings.spend.currency)
            if purse.account not in said:
                said.add(purse.account)
                yield from _ceiling(world.books, purse, currency)


def rollovers(world: World) -> Iterator[Transfer]:
    """What a period left goes to the one after it; what comes back as its last attempts are settled, too."""
    for budget in world.budgets:
        if budget.spec.rollover == "Unspent" and (starts := period(budget, world.now).starts) is not None:
            now, before = period_purse(budget, world.now).account, period_purse(budget, starts - 1).account
            source, target = (world.books.accounts.get(name) for name in (before, now))
            if source and target and source.room and source.currency == target.currency:
                yield Transfer(source=before, target=now, number=source.transfers, amount=source.room)


def _ceiling(books: Books, purse: Purse, currency: str) -> Iterator[Ceiling]:
    known = books.accounts.get(purse.account)
    if known is None:
        yield Ceiling(account=purse.account, revision=0, amount=purse.amount, currency=currency)
    elif known.requested != purse.amount and known.currency == currency:
        revision = known.revision + 1
        yield Ceiling(account=purse.account, revision=revision, amount=purse.amount, currency=currency)
