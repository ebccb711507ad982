"""After an edit of a budget's period, what was spent in the days of the new period still counts."""

import pytest

from comptroller.ledger.entries import Adjust, Ceiling
from comptroller.plan.accounts import missing_ceilings
from comptroller.plan.membership import covering
from comptroller.plan.shedding import shed
from comptroller.plan.verdict import declared
from comptroller.pricing import Unpriced
from support.desk import DAY, Desk, at, budget, desk


@pytest.mark.parametrize("after", ["Daily", "Weekly", "Total"])
def test_what_was_spent_in_the_days_of_the_new_period_counts(after):
    d = desk(budget(period="Monthly"), now=at("2026-12-31T10:00:00"))
    assert d.spend(500)
    d.declare(budget(period=after))
    assert d.room() == 0
    assert d.status()[0].spent == "500.00"
    d.declare(budget(period="Monthly"))
    assert d.room() == 0


def test_what_was_spent_before_the_new_period_does_not_count():
    d = desk(budget(period="Monthly"), now=at("2026-12-03T12:00:00"))
    d.spend(300)
    d.now += 14 * DAY
    d.declare(budget(period="Weekly"))
    assert d.room() == 500
    d.spend(150)
    d.declare(budget(period="Monthly"))
    assert d.room() == 50


def test_an_attempt_that_runs_across_the_begin_of_the_new_period_counts_in_it():
    d = desk(budget(period="Total"), now=at("2026-12-02T23:55:00"))
    d.hold(200, seconds=600)
    d.now += 300
    d.declare(budget(period="Daily"))
    assert d.room() == 300
    d.now += 300
    d.settle()
    d.declare()
    assert d.room() == 300


def test_what_attempts_hold_counts_and_what_they_give_back_comes_back():
    d = desk(budget(period="Monthly"))
    d.hold(400)
    d.declare(budget(period="Weekly"))
    assert (d.room(), d.status()[0].held) == (100, "400.00")
    d.now += 60
    d.settle(share=25)
    d.declare()
    assert (d.room(), d.status()[0].spent, d.status()[0].held) == (400, "100.00", "0.00")


def test_what_is_found_after_the_books_were_closed_counts_too():
    d = desk(budget(period="Monthly"))
    d.spend(300)
    d.declare(budget(period="Weekly"))
    late = Adjust(study="s", trial=0, attempt=0, number=0, amount=50_000_000, seconds=30)
    assert d.books.apply(late) is None
    d.declare()
    assert d.room() == 150


def test_a_period_with_less_money_stops_what_the_one_before_pays():
    d = desk(budget(period="Monthly"))
    first, second = d.hold(200), d.hold(200)
    assert first is not None
    assert second is not None
    d.declare(budget(period="Daily"))
    assert shed(d.world) == {}
    d.declare(budget("b", "300", period="Daily"))
    assert shed(d.world) == {second.key: "budget/b/2026-12-03"}
    d.declare(budget("b", "100", period="Daily"))
    assert set(shed(d.world)) == {first.key, second.key}


def test_a_time_zone_that_moves_the_boundary_frees_only_what_was_spent_before_it():
    d = desk(budget(period="Daily"), now=at("2026-12-03T10:00:00"))
    d.spend(200)
    d.now = at("2026-12-03T20:00:00")
    d.spend(250)
    d.declare(budget(period="Daily", timeZone="Asia/Tokyo"))  # where the day began at 15:00 UTC
    assert d.room() == 250
    d.spend(150)
    d.declare(budget(period="Daily"))
    assert d.room() == 0


def test_a_period_that_was_replaced_before_its_end_leaves_nothing():
    d = desk(budget(period="Daily", rollover="Unspent"))
    d.declare(budget(period="Monthly", rollover="Unspent"))
    d.spend(500)
    d.now += DAY
    d.declare(budget(period="Daily", rollover="Unspent"))
    assert d.room() == 500
    d.now += DAY
    d.declare()
    assert d.room() == 1000  # the day before was complete


def test_a_turn_of_the_period_declares_it_once():
    d = desk(budget(period="Monthly"))
    d.spend(300)
    d.now = at("2027-01-01T00:00:00")
    (entry,) = missing_ceilings(d.world)
    assert isinstance(entry, Ceiling)
    assert (entry.account, entry.carried, entry.pending) == ("budget/b/2027-01", 0, 0)


def test_accounts_of_journals_from_before_are_declared_with_their_days():
    d = Desk(budgets=(budget(period="Monthly"),))
    old = [
        Ceiling(account="study/s", revision=0, amount=10**11, currency="USD"),
        Ceiling(account="budget/b/2026-12", revision=0, amount=500_000_000, currency="USD"),
        Ceiling(account="budget/b/credit/2026-12-31", revision=0, amount=0, currency="USD"),
    ]
    for entry in old:
        d.books.apply(entry)
    d.spend(300)
    d.declare(budget(period="Weekly"))
    assert d.room() == 200


def test_a_budget_in_another_currency_is_not_compared_with_what_it_was():
    d = desk(budget(period="Monthly"))
    d.spend(500)
    d.declare(budget(period="Weekly", currency="EUR"))
    verdict = declared(d.world, d.studies[0], Unpriced("NoPrice", ""), covering(d.world, d.studies[0]))
    assert verdict.reason == "CurrencyMismatch"
