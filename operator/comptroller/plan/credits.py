"""The credits of a budget as one pool: no edit of the list gives back what was spent.

Each credit has an account, known by its last day. A credit that is moved to another day, renewed, split or
merged becomes another account, so what the books had spent or held beyond what a credit now offers is charged
to the credits that were added or raised in the same edit or later. The charge is a `Transfer`, in the batch
that declares the edit. So the sum of what all credits have spent and hold is never more than the largest sum
that was declared for them at once.
"""

from collections.abc import Iterator
from dataclasses import replace

from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Books
from comptroller.ledger.entries import Ceiling, Entry, Transfer
from comptroller_api.budget import Budget
from comptroller_api.money import to_micro


def amounts(budget: Budget) -> dict[str, int]:
    """Return the declared micro-units of each credit, by its last day."""
    found: dict[str, int] = {}
    for credit in budget.spec.credits:
        found[credit.until] = found.get(credit.until, 0) + to_micro(credit.amount)
    return found


def accounts_of_credits(books: Books, budget: Budget) -> list[AccountName]:
    """Return the accounts of all credits that the budget ever used, by their days."""
    return sorted(books.family("Credit", budget.metadata.name))


def missing_entries(books: Books, budget: Budget, usable: dict[AccountName, int]) -> Iterator[Entry]:
    """Yield what brings the accounts of the credits to the declared amounts.

    Args:
        books: as folded so far.
        budget: whose credits.
        usable: micro-units of the credits that can still be used, by account.
    """
    known, currency = accounts_of_credits(books, budget), budget.spec.currency
    if not known and not usable:
        return
    if any(books.accounts[name].currency != currency for name in known):
        return  # the budget is held for it
    declared = {AccountName.of_credit(budget.metadata.name, day) for day in amounts(budget)}
    # A credit whose day has passed stays as it was; one that is no longer listed offers nothing.
    wanted = {name: 0 for name in known if name not in declared} | usable
    pool = Books(accounts={name: replace(books.accounts[name]) for name in known})
    raised: dict[AccountName, int] = {}
    for name, amount in sorted(wanted.items()):
        account = pool.accounts.get(name)
        before, revision = (account.requested, account.revision + 1) if account else (0, 0)
        if account is None or before != amount:
            entry = Ceiling(account=name, revision=revision, amount=amount, currency=currency)
            pool.apply(entry)
            yield entry
            raised[name] = amount - before
    yield from _charges(
        pool, raised
    )  # first: what comes back must not be spent before what is owed is charged
    yield from _returns(pool)


def _returns(pool: Books) -> Iterator[Entry]:
    """Give back what was charged to a credit and is not needed where it went."""
    for source, giver in sorted(pool.accounts.items()):
        for target, taker in sorted(pool.accounts.items(), reverse=True):
            yield from _move(pool, source, target, min(giver.moved, -taker.moved))


def _charges(pool: Books, raised: dict[AccountName, int]) -> Iterator[Entry]:
    """Charge what other credits spent and hold beyond what they offer, first to the credit that ends last."""
    for source, most in sorted(raised.items(), reverse=True):
        left = most
        for target, account in sorted(pool.accounts.items()):
            beyond = account.spent + account.held - account.limit
            moved = _move(pool, source, target, min(left, beyond))
            left -= sum(transfer.amount for transfer in moved)
            yield from moved


def _move(pool: Books, source: AccountName, target: AccountName, amount: int) -> list[Transfer]:
    """Transfer what there is room for of `amount`, if any."""
    giver = pool.accounts[source]
    amount = min(amount, giver.room)
    if amount <= 0 or source == target:
        return []
    entry = Transfer(source=source, target=target, number=giver.transfers, amount=amount)
    pool.apply(entry)
    return [entry]
