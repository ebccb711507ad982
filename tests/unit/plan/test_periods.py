"""The periods of a budget: their names and ends, and time zones and days that do not exist."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.plan.budgets import record_budgets
from comptroller.plan.membership import covering
from comptroller.plan.periods import mistakes, period
from comptroller.plan.verdict import declared
from comptroller.pricing import Unpriced
from support.desk import DECEMBER, TEAM, at, budget, credit, desk, study


@pytest.mark.parametrize(
    ("kind", "label", "ends"),
    [
        ("Daily", "2026-11-24", "2026-11-25"),
        ("Weekly", "2026-W48", "2026-11-30"),
        ("Monthly", "2026-11", "2026-12-01"),
    ],
)
def test_a_period_has_a_name_and_an_end(kind, label, ends):
    found = period(budget(period=kind), at("2026-11-24T13:00:00"))
    assert (found.label, found.ends) == (label, at(f"{ends}T00:00:00"))


def test_a_total_budget_never_ends():
    assert period(budget(period="Total"), at("2026-11-24T13:00:00")).ends is None


def test_a_day_is_a_day_of_the_budgets_own_time_zone():
    found = period(budget(period="Daily", timeZone="America/New_York"), at("2026-11-24T03:00:00"))
    assert (found.label, found.ends) == ("2026-11-23", at("2026-11-24T05:00:00"))


@given(
    st.integers(at("2000-01-01T00:00:00"), at("2100-01-01T00:00:00")),
    st.sampled_from(["Daily", "Weekly", "Monthly"]),
)
def test_every_moment_is_before_the_end_of_its_period(now, kind):
    zone = budget(period=kind, timeZone="Europe/Berlin")
    found = period(zone, now)
    assert found.ends is not None
    assert now < found.ends
    assert period(zone, found.ends).label != found.label
    assert period(zone, found.ends - 1).label == found.label


ZONES = [
    "Europe",
    "../x",
    "/etc/localtime",
    "europe/berlin",
    "",
    "posix/UTC",
    "localtime",
    "Etc/",
    "zone.tab",
]


@pytest.mark.parametrize("zone", ZONES)
def test_an_unknown_time_zone_is_reported_on_its_budget_and_stops_no_study_of_others(zone):
    listed = [credit("1000", DECEMBER)]
    d = desk(
        budget(timeZone=zone, selector=TEAM, rollover="Unspent", credits=listed), budget("fine"),
        studies=(study(), study("held", team="x")),
    )  # fmt: skip
    assert "must be an IANA time zone" in mistakes(d.budgets[0])[0]
    first, second = (
        declared(d.world, s, Unpriced("NoPrice", ""), covering(d.world, s)).reason for s in d.studies
    )
    assert (first, second) == ("NoPrice", "BudgetRefused")
    by_name = {r.budget.metadata.name: r.status.conditions[0].status for r in record_budgets(d.world, ())}
    assert by_name == {"b": "False", "fine": "True"}
    assert not any(account.startswith("budget/b/") for account in d.books.accounts)


DAYS = ["0001-01-01", "9999-12-31", "20301231", "2030-W01-1", "2030-02-31", "", "soon"]


@pytest.mark.parametrize("day", DAYS)
def test_a_credit_until_no_usable_day_stops_nothing(day):
    d = desk(budget(credits=[credit("1", day)], timeZone="Asia/Tokyo", selector=TEAM), budget("fine"))
    assert d.room() == 500
