"""The accounts that a study draws on, and the ceilings that the books have yet to learn.

A study's leases hold on one account for each ceiling over it: its own, each covering budget's, and each
budget's cap per study. A budget pays from its credits first, the one that ends soonest before the others, and
then from the amount of its period. A lease is paid from one of them whole.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Books
from comptroller.ledger.entries import Ceiling, Entry, Transfer
from comptroller.plan.carried import missing_period, overlapping
from comptroller.plan.credits import accounts_of_credits, amounts, missing_entries
from comptroller.plan.membership import covering
from comptroller.plan.periods import end_of_day, mistakes, period
from comptroller.world import World
from comptroller_api.budget import Budget
from comptroller_api.money import to_micro
from comptroller_api.study import Study


@dataclass(frozen=True, slots=True)
class Purse:
    """An account that can pay, and the moment (unix seconds) that no lease paid from it may cross."""

    account: AccountName
    amount: int
    """Micro-units that are declared for it."""
    ends: int | None = None


def study_account(study: Study) -> AccountName:
    """The account of the study's own ceiling."""
    return AccountName.of_study(study.metadata.uid)


def period_purse(budget: Budget, now: int) -> Purse:
    """The amount of the period that holds `now`."""
    current = period(budget, now)
    account = AccountName.of_period(budget.metadata.name, current.label)
    return Purse(account, to_micro(budget.spec.amount), current.ends)


def credit_purses(budget: Budget, now: int) -> list[Purse]:
    """The credits that can still be used, the one that ends soonest first.

    One without a proper day pays nothing; its budget is refused.
    """
    purses = [
        Purse(AccountName.of_credit(budget.metadata.name, day), amount, end_of_day(budget, day))
        for day, amount in sorted(amounts(budget).items())
    ]
    return [purse for purse in purses if purse.ends is not None and now < purse.ends]


def cap_purse(budget: Budget, study: Study) -> Purse | None:
    """Return the purse of the amount that this one study may have of the budget, if that is limited."""
    cap = budget.spec.cap_per_study
    if cap is None:
        return None
    return Purse(AccountName.of_cap(budget.metadata.name, study.metadata.uid), to_micro(cap))


def purses(world: World, study: Study) -> tuple[tuple[Purse, ...], ...]:
    """Return, for each ceiling over the study, the accounts that can pay, in the order of their use."""
    own = Purse(study_account(study), to_micro(study.spec.ceilings.spend.amount))
    found: list[tuple[Purse, ...]] = [(own,)]
    for budget in covering(world, study):
        found.append((*credit_purses(budget, world.now), period_purse(budget, world.now)))
        if (cap := cap_purse(budget, study)) is not None:
            found.append((cap,))
    return tuple(found)


def missing_ceilings(world: World) -> Iterator[Entry]:
    """Yield what people declared and the books do not have yet: ceilings, and what edits of credits move.

    A budget with a mistake declares nothing, and the studies that it covers are held.
    """
    for study in world.studies:
        own = Purse(study_account(study), to_micro(study.spec.ceilings.spend.amount))
        yield from _ceiling(world.books, own, study.spec.ceilings.spend.currency)
        for budget in covering(world, study):
            if (cap := cap_purse(budget, study)) is not None:
                yield from _ceiling(world.books, cap, budget.spec.currency)
    covers = {budget.metadata.name for study in world.studies for budget in covering(world, study)}
    for budget in world.budgets:
        # A period in which nothing ran leaves something, too.
        in_use = budget.metadata.name in covers or budget.spec.rollover == "Unspent"
        if in_use and not mistakes(budget):
            usable = {purse.account: purse.amount for purse in credit_purses(budget, world.now)}
            yield from missing_entries(world.books, budget, usable)
            if (entry := missing_period(world.books, budget, period(budget, world.now))) is not None:
                yield entry


def rollovers(world: World) -> Iterator[Transfer]:
    """Yield what a period left to the one after it; what comes back as its last attempts are settled, too.

    A period leaves nothing where another one replaced it before its end: its room is not known then.
    """
    for budget in world.budgets:
        if budget.spec.rollover != "Unspent" or mistakes(budget):
            continue
        if (starts := period(budget, world.now).starts) is not None:
            now, before = period_purse(budget, world.now).account, period_purse(budget, starts - 1).account
            source, target = (world.books.accounts.get(name) for name in (before, now))
            if source and target and source.room and source.current and source.currency == target.currency:
                yield Transfer(source=before, target=now, number=source.transfers, amount=source.room)


def in_other_currency(world: World, budget: Budget) -> AccountName | None:
    """Return an account of the budget that counts now and is in another currency in the books, if any."""
    names = overlapping(world.books, budget, period(budget, world.now))
    wrong = [
        name
        for name in (*sorted(names), *accounts_of_credits(world.books, budget))
        if world.books.accounts[name].currency != budget.spec.currency
    ]
    return wrong[0] if wrong else None


def _ceiling(books: Books, purse: Purse, currency: str) -> Iterator[Ceiling]:
    known = books.accounts.get(purse.account)
    if known is None:
        yield Ceiling(account=purse.account, revision=0, amount=purse.amount, currency=currency)
    elif known.requested != purse.amount and known.currency == currency:
        revision = known.revision + 1
        yield Ceiling(account=purse.account, revision=revision, amount=purse.amount, currency=currency)
