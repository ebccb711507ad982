"""Each rate that a pod needs is written in its list, or there is no price."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.pricing import PriceBook, Quote
from comptroller.pricing.rates import HourlyRates, metered
from comptroller_api.study import Resources
from support.pricelists import FED, MIG, NOW, fed, pod, prices, quoted, refused


def test_rates_are_read_as_they_were_written() -> None:
    for gpu in ("nvidia.com/gpu", MIG):
        rates = quoted(prices(), gpu=gpu).rates
        assert HourlyRates.read(rates.written("OnDemand"), "OnDemand", gpu) == rates
    both = quoted(prices()).rates.written("OnDemand") | quoted(prices(), gpu=MIG).rates.written("OnDemand")
    assert both == {
        "OnDemand.gpu": 4_000_000,
        f"OnDemand.{MIG}": 600_000,
        "OnDemand.cpu": 40_000,
        "OnDemand.memoryGiB": 4_000,
    }


@pytest.mark.parametrize(
    ("node_class", "resources", "message"),
    [
        (
            {"onDemand": {"cpu": "1", "memoryGiB": "0"}, "cap": {"cpu": "1", "memoryGiB": "0"}},
            Resources(gpu=8),
            (
                "node class 'h100' has no on-demand price of gpu: write cap.gpu and onDemand.gpu in PriceList"
                " 'list', \"0\" if it is free"
            ),
        ),
        (
            {"onDemand": {"gpu": "4"}, "cap": {"gpu": "5"}},
            Resources(gpu=1, memory="400Gi"),
            (
                "node class 'h100' has no on-demand price of cpu and memoryGiB: write cap.cpu and"
                " cap.memoryGiB and onDemand.cpu and onDemand.memoryGiB in PriceList 'list',"
                ' "0" if it is free'
            ),
        ),
        (
            {"onDemand": {"cpu": "1", "memoryGiB": "0"}},
            Resources(gpu=1),
            (
                "node class 'h100' has no on-demand price of gpu: write onDemand.gpu in PriceList"
                " 'list', \"0\" if it is free"
            ),
        ),
        (
            {},
            Resources(ephemeral_storage="2Ti"),
            (
                "node class 'h100' has no on-demand price of storageGiB: write cap.storageGiB and"
                " onDemand.storageGiB in PriceList 'list', \"0\" if it is free"
            ),
        ),
    ],
)
def test_a_rate_that_is_not_written_is_no_price(
    node_class: dict[str, Any], resources: Resources, message: str
) -> None:
    found = refused(prices(node_class=node_class), resources=resources)
    assert (found.reason, found.message) == ("NoPrice", message)


def test_a_capacity_that_lacks_a_rate_is_no_price_of_it_though_another_has_it() -> None:
    lists = prices(node_class={"spot": {"cpu": "1", "memoryGiB": "0", "nodeSelector": {"capacity": "spot"}}})
    assert quoted(lists)
    found = refused(lists, capacity="Spot")
    assert found.message.startswith("node class 'h100' has no spot price of gpu: write spot.gpu")


def test_a_list_of_higher_rank_without_a_rate_does_not_borrow_it_from_another() -> None:
    lists = prices("a"), prices("b", {"onDemand": {"cpu": "1", "memoryGiB": "1"}}, priority=1)
    assert "PriceList 'b'" in refused(*lists).message


def test_a_profile_needs_the_other_rates_too() -> None:
    found = refused(prices(node_class={"onDemand": {"gpu": "4"}}), resources=pod(MIG))
    assert "cpu and memoryGiB" in found.message


def test_free_is_what_is_written_as_free() -> None:
    free = {"gpu": "0", "cpu": "0.04", "memoryGiB": "0", "storageGiB": "0"}
    book = PriceBook([prices(node_class={"onDemand": free, "cap": free})], NOW)
    resources = Resources(gpu=8, memory="400Gi", ephemeral_storage="2Ti")
    found = book.quote("h100", "OnDemand", "USD", resources)
    assert isinstance(found, Quote)
    assert found.cost(resources, 3600) == 40_000


def test_storage_is_billed_where_it_has_a_price_also_what_a_study_does_not_name() -> None:
    rates = {"gpu": "4.00", "cpu": "0", "memoryGiB": "0", "storageGiB": "0.0001"}
    found = quoted(prices(node_class={"onDemand": rates, "cap": rates}))
    assert found.cost(Resources(ephemeral_storage="1Ti"), 3600) == 102_400
    assert found.cost(Resources(), 3600) == 800  # 8Gi of scratch
    assert quoted(prices()).cost(Resources(cpu="1", memory="1Gi"), 3600) == 44_000  # none has a price there


def test_storage_under_a_feed_is_charged_at_the_lists_own_rate() -> None:
    cap = {"gpu": "5.00", "cpu": "0.05", "memoryGiB": "0.005", "storageGiB": "0.0002"}
    of_cap = prices(node_class={"onDemand": None, "cap": cap}, **FED)
    assert quoted(of_cap, feed=fed()).rates.storage_gib == 200
    declared = prices(node_class={"onDemand": {"storageGiB": "0.0001"}, "cap": cap}, **FED)
    assert quoted(declared, feed=fed()).rates.storage_gib == 100


def test_a_feed_that_knows_a_rate_that_the_cap_does_not_is_no_price_of_it() -> None:
    lists = prices(node_class={"cap": {"cpu": "0.05", "memoryGiB": "0.005"}}, **FED)
    assert "no on-demand price of gpu: write cap.gpu in" in refused(lists, feed=fed()).message


amounts = st.none() | st.integers(0, 10**9)


@given(
    st.builds(HourlyRates, amounts, amounts, amounts, storage_gib=amounts),
    st.builds(HourlyRates, amounts, amounts, amounts, storage_gib=amounts),
    st.integers(0, 8),
    st.sampled_from([None, "1Gi", "100Gi"]),
    st.integers(0, 100_000),
)
def test_what_is_requested_is_charged_or_refused_and_never_above_the_cap(
    rates: HourlyRates, cap: HourlyRates, gpu: int, storage: str | None, seconds: int
) -> None:
    resources, least = Resources(gpu=gpu, ephemeral_storage=storage), rates.at_most(cap)
    if least.lacks(resources):
        with pytest.raises(ValueError, match="has no price"):
            least.cost(resources, seconds)
        return
    cost = least.cost(resources, seconds)
    assert cost <= cap.cost(resources, seconds)
    assert least.written("Cap") == cap.priced_in(rates).at_most(rates).written("Cap")
    # Every named resource is paid for: without its rate there would be no price.
    for name, wanted in (
        ("gpu", gpu > 0),
        ("cpu", True),
        ("memory_gib", True),
        ("storage_gib", bool(storage)),
    ):
        if wanted:
            without: dict[str, Any] = {name: None}
            assert replace(least, **without).lacks(resources)


def test_a_price_that_changes_midway_is_metered_at_both() -> None:
    resources = Resources(gpu=1, cpu="1", memory="1Gi")
    spans = [(HourlyRates(3_600_000, 0, 0), 10), (HourlyRates(7_200_000, 0, 0), 5)]
    assert metered(resources, spans) == 20_000
