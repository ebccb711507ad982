"""The periods of a budget: their names and ends."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.plan.periods import period
from comptroller_api.budget import Budget


def budget(kind, zone="UTC"):
    spec = {"amount": "10", "currency": "USD", "period": kind, "timeZone": zone}
    return Budget.model_validate({"metadata": {"name": "b"}, "spec": spec})


def at(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@pytest.mark.parametrize(
    ("kind", "label", "ends"),
    [
        ("Daily", "2026-11-24", "2026-11-25"),
        ("Weekly", "2026-W48", "2026-11-30"),
        ("Monthly", "2026-11", "2026-12-01"),
    ],
)
def test_a_period_has_a_name_and_an_end(kind, label, ends):
    found = period(budget(kind), at("2026-11-24T13:00:00"))
    assert (found.label, found.ends) == (label, at(f"{ends}T00:00:00"))


def test_a_total_budget_never_ends():
    assert period(budget("Total"), at("2026-11-24T13:00:00")).ends is None


def test_a_day_is_a_day_of_the_budgets_own_time_zone():
    found = period(budget("Daily", "America/New_York"), at("2026-11-24T03:00:00"))
    assert (found.label, found.ends) == ("2026-11-23", at("2026-11-24T05:00:00"))


@given(
    st.integers(at("2000-01-01T00:00:00"), at("2100-01-01T00:00:00")),
    st.sampled_from(["Daily", "Weekly", "Monthly"]),
)
def test_every_moment_is_before_the_end_of_its_period(now, kind):
    zone = budget(kind, "Europe/Berlin")
    found = period(zone, now)
    assert found.ends is not None
    assert now < found.ends
    assert period(zone, found.ends).label != found.label
    assert period(zone, found.ends - 1).label == found.label
