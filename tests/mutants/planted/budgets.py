"""Mistakes in budgets: which studies they cover, and what they have left."""

from collections.abc import Iterator
from typing import Any

from comptroller.ledger.books import Books
from comptroller.ledger.entries import Ceiling, Entry
from comptroller.plan import accounts, carried, membership
from comptroller.plan.credits import missing_entries
from mutants.planted.registry import Patch, mutant


@mutant
def second_budget_ignored(patch: Patch) -> None:
    """A study belongs only to the first budget that covers it."""
    covering = membership.covering
    patch.setattr(accounts, "covering", lambda world, study: covering(world, study)[:1])


@mutant
def a_label_edit_leaves_a_budget(patch: Patch) -> None:
    """Labels alone decide, at each lease again, which budgets cover a study."""
    patch.setattr(membership, "covers", lambda _world, budget, study: membership.selects(budget, study))


@mutant
def lowered_ceilings_ignored(patch: Patch) -> None:
    """A ceiling in the books only rises."""
    ceiling = accounts._ceiling

    def rising(books: Books, purse: Any, currency: str) -> Iterator[Ceiling]:
        known = books.accounts.get(purse.account)
        if known is None or purse.amount > known.requested:
            yield from ceiling(books, purse, currency)

    patch.setattr(accounts, "_ceiling", rising)


@mutant
def an_edit_refills_credits(patch: Patch) -> None:
    """M16: the expense of a credit stays with the credit's old day when the credit is moved."""

    def refilled(*args: Any) -> Iterator[Entry]:
        yield from (entry for entry in missing_entries(*args) if isinstance(entry, Ceiling))

    patch.setattr(accounts, "missing_entries", refilled)


@mutant
def another_period_begins_with_nothing_spent(patch: Patch) -> None:
    """M17: a budget's expense in other periods does not count in a period with the same days."""
    missing = carried.missing_period

    def fresh(*args: Any) -> Ceiling | None:
        found = missing(*args)
        return found and found.model_copy(update={"carried": 0, "pending": 0})

    patch.setattr(accounts, "missing_period", fresh)


@mutant
def cap_per_study_ignored(patch: Patch) -> None:
    """A study may use all of a budget, whatever the budget's cap per study is."""
    patch.setattr(accounts, "cap_purse", lambda _budget, _study: None)
