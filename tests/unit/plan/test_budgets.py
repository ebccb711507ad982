"""The status of a budget: a threshold is a share of all that the budget offers in its period."""

import pytest

from support.desk import DAY, JUNE, budget, credit, desk


def threshold(d):
    return d.status()[1]["ThresholdReached"].reason


def test_thresholds_are_of_all_that_the_period_offers():
    d = desk(budget(amount="100", thresholds=[50, 100], credits=[credit("100", JUNE)]))
    d.spend(99)
    assert threshold(d) == "Below"
    d.spend(1)
    assert threshold(d) == "At50Percent"
    d.spend(100)
    assert threshold(d) == "At100Percent"


def test_what_credits_paid_in_periods_before_is_not_of_this_one():
    d = desk(budget(amount="1", thresholds=[10, 100], credits=[credit("1000", JUNE)]))
    d.spend(900)
    d.now += 31 * DAY
    d.declare()
    status, conditions = d.status()
    assert (status.spent, status.ceiling) == ("0.00", "101.00")
    assert conditions["ThresholdReached"].reason == "Below"
    d.spend(60)
    assert threshold(d) == "At10Percent"


@pytest.mark.parametrize("credits_", [[], [credit("5", JUNE)]])
def test_a_budget_of_zero_has_reached_no_threshold(credits_):
    d = desk(budget(amount="0", thresholds=[1, 100], credits=credits_))
    assert threshold(d) == "Below"


def test_a_rollover_is_offered():
    d = desk(budget(amount="100", period="Daily", rollover="Unspent", thresholds=[60, 100]))
    d.now += DAY
    d.declare()
    d.spend(100)
    assert threshold(d) == "Below"
    assert d.status()[0].ceiling == "200.00"
