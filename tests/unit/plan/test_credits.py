"""No edit of a budget's credits gives back what was spent."""

import pytest

from support.desk import DECEMBER, JUNE, LATER, at, budget, credit, desk

SPENT = [credit("1000", DECEMBER)]


@pytest.mark.parametrize(
    ("after", "room"),
    [
        ([credit("1000", JUNE)], 100),  # moved on
        ([credit("1000", "2026-12-20")], 100),  # moved back
        ([credit("1500", JUNE)], 600),  # moved on and raised
        ([credit("600", JUNE), credit("400", DECEMBER)], 100),  # split, and one part keeps its day
        ([credit("600", JUNE), credit("400", LATER)], 100),  # split
        ([credit("1500", DECEMBER)], 600),  # raised
        ([credit("800", DECEMBER)], 0),  # lowered
        ([], 0),  # gone
    ],
)
def test_no_edit_of_a_credit_gives_back_what_was_spent(after, room):
    d = desk(budget(amount="0", credits=SPENT))
    assert d.spend(900)
    d.declare(budget(amount="0", credits=after))
    assert d.room() == room
    d.declare(budget(amount="0", credits=SPENT))
    assert d.room() == 100  # back to what it was


def test_credits_that_are_merged_have_spent_what_their_parts_had():
    d = desk(budget(amount="0", credits=[credit("1000", DECEMBER), credit("500", JUNE)]))
    d.spend(900)
    d.spend(300)
    d.declare(budget(amount="0", credits=[credit("1500", LATER)]))
    assert d.room() == 300


def test_a_credit_that_has_ended_and_is_prolonged_has_spent_what_it_had():
    d = desk(budget(amount="0", credits=SPENT))
    d.spend(900)
    d.now = at("2027-02-01T00:00:00")
    d.declare()
    assert d.room() == 0
    d.declare(budget(amount="0", credits=[credit("1000", JUNE)]))
    assert d.room() == 100


def test_another_credit_is_money_on_top_if_the_earlier_one_stays_listed():
    d = desk(budget(amount="0", credits=SPENT))
    d.spend(900)
    d.declare(budget(amount="0", credits=[*SPENT, credit("1000", JUNE)]))
    assert d.room() == 1100


def test_a_credit_that_is_taken_away_costs_the_others_nothing():
    d = desk(budget(amount="0", credits=[credit("1000", DECEMBER), credit("500", JUNE)]))
    d.spend(900)
    d.declare(budget(amount="0", credits=[credit("500", JUNE)]))
    assert d.room() == 500


def test_what_a_credit_gets_back_does_not_hide_what_another_owes():
    first, second, third = "2027-06-28", "2027-06-29", "2027-06-30"
    d = desk(budget(amount="0", credits=[credit("50", first), credit("80", second)]))
    d.spend(20)
    d.spend(80)
    d.declare(budget(amount="0", credits=[credit("80", first), credit("50", third)]))
    assert d.room() == 30
    d.declare(budget(amount="0", credits=[credit("50", second), credit("50", third)]))
    assert d.room() == 0


def test_what_is_held_counts_until_it_is_settled():
    d = desk(budget(amount="0", credits=SPENT))
    d.hold(900)
    d.declare(budget(amount="0", credits=[credit("1000", JUNE)]))
    assert d.room() == 100
    d.settle(share=50)
    d.declare()
    assert d.room() == 550
