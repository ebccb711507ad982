"""Amounts that count in a budget's period though other accounts of the budget paid them.

The account of a period is known by its label, and a change of `period` or `timeZone` makes another account
pay. What the budget spent and holds for leases within the days of the new period lowers what the new account
has room for. An attempt that ran partly within the period counts in full.
"""

from comptroller.ledger.accounts import AccountName
from comptroller.ledger.books import Account, Attempt, Books
from comptroller.ledger.entries import Ceiling
from comptroller.plan.credits import accounts_of_credits
from comptroller.plan.periods import Period
from comptroller_api.budget import Budget
from comptroller_api.money import to_micro


def missing_period(books: Books, budget: Budget, period: Period) -> Ceiling | None:
    """Return the entry that declares the account of `period`, or `None` where the books have it.

    It is declared again after each edit of the amount, the period or the time zone, and when attempts have
    been settled that were open on other accounts of the budget.
    """
    name, amount = AccountName.of_period(budget.metadata.name, period.label), to_micro(budget.spec.amount)
    known = books.accounts.get(name)
    if (
        known is not None
        and _is_declared(known, amount, period)
        and not _settled(books, budget, period, known)
    ):
        return None
    siblings = overlapping(books, budget, period)
    currencies = {books.accounts[account].currency for account in siblings}
    if currencies - {budget.spec.currency} or (known and known.currency != budget.spec.currency):
        return None  # what they spent cannot be compared; the budget is held for it
    return Ceiling(
        account=name,
        revision=known.revision + 1 if known else 0,
        amount=amount,
        currency=budget.spec.currency,
        starts=period.starts,
        ends=period.ends,
        carried=_spent(books, siblings - {name}, period),
        pending=_pending(books, siblings - {name}),
        credited=_credited(books, budget, period),
    )


def overlapping(books: Books, budget: Budget, period: Period) -> set[AccountName]:
    """Return the accounts of the budget's periods that have days in common with `period`."""
    names = books.family("Period", budget.metadata.name)
    return {name for name in names if books.accounts[name].overlaps(period.starts, period.ends)}


def _is_declared(known: Account, amount: int, period: Period) -> bool:
    declared = (known.requested, known.starts, known.ends, known.current)
    return declared == (amount, period.starts, period.ends, True)


def _settled(books: Books, budget: Budget, period: Period, known: Account) -> bool:
    """Return whether attempts that were pending have changed what they have spent or hold."""
    if not known.pending:
        return False
    own = AccountName.of_period(budget.metadata.name, period.label)
    return _pending(books, overlapping(books, budget, period) - {own}) != known.pending


def _pending(books: Books, accounts: set[AccountName]) -> int:
    open_ = books.open.values() if accounts else ()
    return sum(a.spent + a.held for a in open_ if not accounts.isdisjoint(a.accounts))


def _spent(books: Books, accounts: set[AccountName], period: Period) -> int:
    closed = books.closed if accounts else ()
    found = (a for a in closed if not accounts.isdisjoint(a.accounts) and _within(books, a, period))
    return sum(map(books.spent, found))


def _credited(books: Books, budget: Budget, period: Period) -> int:
    """Return what credits had spent before the period: their total, less their spending within it."""
    accounts = set(accounts_of_credits(books, budget))
    total = sum(books.accounts[name].spent for name in accounts)
    return total - _spent(books, accounts, period) if total else 0


def _within(books: Books, attempt: Attempt, period: Period) -> bool:
    """Return whether a closed attempt ran in the period, if only partly."""
    started = attempt.started or attempt.ended - attempt.seconds
    ended = attempt.ended + books.billed_seconds(attempt) - attempt.seconds
    before = period.starts is not None and ended <= period.starts
    return not before and (period.ends is None or started < period.ends)
