"""Budgets, their periods and the prices of a lease."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.plan.periods import period
from comptroller.pricing import PriceBook, Quote, Unpriced
from comptroller_api.budget import Budget
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Resources


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


def prices(**changes):
    entry = {
        "name": "small",
        "onDemand": {"cpu": "0.04", "memoryGiB": "0"},
        "cap": {"cpu": "0.08", "memoryGiB": "0.01"},
    }
    spec = {"currency": "USD", "asOf": "2026-01-01T00:00:00Z", "nodeClasses": [entry], **changes}
    return PriceList.model_validate({"metadata": {"name": "list"}, "spec": spec})


def quote():
    found = PriceBook([prices()], 0).quote("small", "OnDemand", "USD")
    assert isinstance(found, Quote)
    return found


def test_a_lease_is_held_at_the_cap_and_billed_at_the_price():
    half = Resources(cpu="500m", memory="1Gi")
    assert quote().worst(half, 3600) == 50_000
    assert quote().cost(half, 3600) == 20_000


def test_a_fraction_of_a_micro_unit_is_rounded_up():
    assert quote().cost(Resources(cpu="1m", memory="1Mi"), 1) == 1


@given(st.integers(0, 10**9), st.integers(1, 8), st.integers(1, 64))
def test_affordable_seconds_are_the_most_that_fit(room, cores, gib):
    resources = Resources(cpu=str(cores), memory=f"{gib}Gi")
    seconds = quote().affordable_seconds(resources, room)
    assert quote().worst(resources, seconds) <= room
    assert quote().worst(resources, seconds + 2) > room


@pytest.mark.parametrize(
    ("lists", "reason"),
    [
        ([], "NoPrice"),
        ([prices(currency="EUR")], "NoPrice"),
        ([prices(maxAge="1h")], "StalePrice"),
        ([prices(source="AWS")], "NoPrice"),
        ([prices(), prices()], "AmbiguousPrice"),
    ],
)
def test_no_price_says_why(lists, reason):
    found = PriceBook(lists, at("2026-06-01T00:00:00")).quote("small", "OnDemand", "USD")
    assert isinstance(found, Unpriced)
    assert found.reason == reason
    assert "small" in found.message or reason == "NotSupported"
