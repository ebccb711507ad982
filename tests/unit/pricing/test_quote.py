"""A quote: a lease is held at the cap and billed at the price; without one, the reason."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.pricing import PriceBook, Quote, Unpriced
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Resources

JUNE = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp())


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
    found = PriceBook(lists, JUNE).quote("small", "OnDemand", "USD")
    assert isinstance(found, Unpriced)
    assert found.reason == reason
    assert "small" in found.message or reason == "NotSupported"
