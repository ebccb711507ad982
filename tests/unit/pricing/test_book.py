"""The price book: the list that wins, refusals, and the effect of MIG profiles and feeds on a quote."""

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.pricing import Fed, PriceBook, Quote, Shelf, Unfed, Unpriced
from comptroller.pricing.fed import Fresh
from comptroller.pricing.rates import HourlyRates, metered
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Resources

NOW = 1_796_000_000
MIG = "nvidia.com/mig-1g.10gb"
SPOT = {"gpu": "1.50", "cpu": "0.02", "memoryGiB": "0.002"}


def prices(name: str = "list", node_class: dict[str, Any] | None = None, **spec: Any) -> PriceList:
    one = {
        "name": "h100",
        "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
        "onDemand": {"gpu": "4.00", "cpu": "0.04", "memoryGiB": "0.004"},
        "spot": {**SPOT, "nodeSelector": {"capacity": "spot"}},
        "cap": {"gpu": "5.00", "cpu": "0.05", "memoryGiB": "0.005"},
        "gpuProfiles": [{"resource": MIG, "onDemand": "0.60", "cap": "0.75"}],
        **(node_class or {}),
    }
    spec = {"currency": "USD", "asOf": "2026-11-01T00:00:00Z", "nodeClasses": [one], **spec}
    return PriceList.model_validate({"metadata": {"name": name}, "spec": spec})


def pod(gpu: str = "nvidia.com/gpu", **more: Any) -> Resources:
    return Resources(gpu=1, gpu_resource=None if gpu == "nvidia.com/gpu" else gpu, **more)


def quoted(*lists: PriceList, capacity: str = "OnDemand", gpu: str = "nvidia.com/gpu", **feed: Any) -> Quote:
    found = PriceBook(lists, NOW, feed.get("feed", {})).quote("h100", capacity, "USD", pod(gpu))
    assert isinstance(found, Quote), found
    return found


def refused(
    *lists: PriceList, capacity: str = "OnDemand", resources: Resources | None = None, **feed: Any
) -> Unpriced:
    found = PriceBook(lists, NOW, feed.get("feed", {})).quote("h100", capacity, "USD", resources or pod())
    assert isinstance(found, Unpriced), found
    return found


def test_a_gpu_is_found_by_its_product_and_priced_with_cores_and_memory() -> None:
    found = quoted(prices())
    assert found.node_selector == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    resources = Resources(gpu=2, cpu="8", memory="100Gi")
    assert found.cost(resources, 3600) == 8_000_000 + 320_000 + 400_000
    assert found.worst(resources, 3600) == 10_000_000 + 400_000 + 500_000


def test_a_mig_profile_has_its_own_price_and_cap() -> None:
    found = quoted(prices(), gpu=MIG)
    assert (found.rates.gpu, found.cap.gpu) == (600_000, 750_000)
    part = Resources(gpu=3, gpu_resource=MIG, cpu="1", memory="1Gi")
    assert found.cost(part, 3600) == 3 * 600_000 + 40_000 + 4_000
    assert found.worst(part, 3600) == 3 * 750_000 + 50_000 + 5_000


def test_a_profile_is_never_billed_as_a_whole_gpu_nor_the_other_way() -> None:
    whole, part = quoted(prices()), quoted(prices(), gpu=MIG)
    with pytest.raises(ValueError, match=r"nvidia.com/mig-1g.10gb has no price, nvidia.com/gpu has"):
        whole.cost(Resources(gpu=1, gpu_resource=MIG), 60)
    with pytest.raises(ValueError, match=r"nvidia.com/gpu has no price"):
        part.cost(Resources(gpu=1), 60)


def test_a_profile_that_no_list_prices_is_not_launched() -> None:
    for capacity, gpu in (("OnDemand", "nvidia.com/mig-3g.40gb"), ("Spot", MIG)):
        found = refused(prices(), capacity=capacity, resources=pod(gpu))
        assert found.reason == "NoPrice"
        assert gpu in found.message


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


# -- rates that are left out -------------------------------------------------------------------------------


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


def test_lists_of_equal_rank_price_nothing() -> None:
    found = refused(prices("a"), prices("b"))
    assert found.reason == "AmbiguousPrice"
    assert found.message == "node class 'h100' is priced by several lists of priority 0: a, b"


@pytest.mark.parametrize("order", [1, -1])
def test_the_higher_rank_wins(order: int) -> None:
    lists = [
        prices("a"),
        prices("b", {"onDemand": {"gpu": "3.00", "cpu": "0", "memoryGiB": "0"}}, priority=1),
    ][::order]
    assert quoted(*lists).rates.gpu == 3_000_000


def test_a_tie_below_the_winner_does_not_matter() -> None:
    assert quoted(prices("a"), prices("b"), prices("c", priority=5)).rates.gpu == 4_000_000


def test_lists_that_price_different_capacities_do_not_meet() -> None:
    lists = prices("a"), prices("b", {"spot": None}, priority=1)
    assert quoted(*lists, capacity="Spot").rates.gpu == 1_500_000


def test_a_stale_winner_is_not_replaced_by_an_older_opinion() -> None:
    found = refused(prices("a"), prices("b", priority=1, maxAge="24h"))
    assert found.reason == "StalePrice"
    assert "PriceList 'b' is of 2026-11-01T00:00:00Z, over its maxAge 24h" in found.message


def test_a_declared_spread_comes_with_the_spot_price_only() -> None:
    declared = {"spotQuantiles": [{"at": 90, "percent": 140}, {"at": 10, "percent": 80}]}
    assert quoted(prices(node_class=declared), capacity="Spot").spread == ((10, 80), (90, 140))
    assert quoted(prices(node_class=declared)).spread == ()


# -- feeds -------------------------------------------------------------------------------------------------

FED: dict[str, Any] = {"source": "AWS", "asOf": None, "aws": {"region": "us-east-1"}, "maxAge": "1h"}


def fed(gpu: int = 3_000_000, age: int = 60, spot: Fresh | None = None) -> dict[tuple[str, str], Fed | Unfed]:
    fresh = Fresh(HourlyRates(gpu, 30_000, 3_000), NOW - 5_000)
    return {("list", "h100"): Fed(NOW - age, fresh, spot)}


def test_a_fed_price_stands_under_the_caps_of_its_list() -> None:
    found = quoted(prices(**FED), feed=fed())
    assert (found.rates, found.since) == (HourlyRates(3_000_000, 30_000, 3_000), NOW - 5_000)
    assert found.cap == HourlyRates(5_000_000, 50_000, 5_000)


def test_a_price_above_its_cap_is_refused_and_not_clamped() -> None:
    found = refused(prices(**FED), feed=fed(gpu=5_000_001))
    assert found.reason == "PriceAboveCap"
    assert found.message == (
        "the on-demand price of node class 'h100' is 5.000001 USD for an hour of gpu, above the cap 5.00 in"
        " PriceList 'list'"
    )
    assert quoted(prices(**FED), feed=fed(gpu=5_000_000)).rates.gpu == 5_000_000


def test_a_source_that_falls_silent_holds_launches_once_its_price_is_old() -> None:
    assert quoted(prices(**FED), feed=fed(age=3600))
    assert refused(prices(**FED), feed=fed(age=3601)).reason == "StalePrice"


def test_a_source_that_was_never_heard_holds_launches_and_says_why() -> None:
    assert re.search(r"it has not been \w+ yet", refused(prices(**FED)).message)
    found = refused(prices(**FED), feed={("list", "h100"): Unfed("it cannot be read: AccessDenied")})
    assert found.reason == "NoPrice"
    assert "AWS has no price for PriceList 'list': it cannot be read: AccessDenied" in found.message


def test_a_source_without_spot_capacity_has_no_spot_price() -> None:
    assert refused(prices(**FED), capacity="Spot", feed=fed()).reason == "NoPrice"


@pytest.mark.parametrize("gpu", [0, 1, 4_000, 249_999])
def test_a_price_that_is_far_below_its_cap_is_not_taken_from_a_feed(gpu: int) -> None:
    found = refused(prices(**FED), feed=fed(gpu=gpu))
    assert found.reason == "ImplausiblePrice"
    assert "for an hour of gpu, as AWS has it, under the floor 0.25, which is 5% of its cap" in found.message
    assert quoted(prices(**FED), feed=fed(gpu=250_000)).rates.gpu == 250_000


def test_a_floor_is_the_lists_own() -> None:
    assert refused(prices(node_class={"floorPercent": 70}, **FED), feed=fed()).reason == "ImplausiblePrice"
    assert quoted(prices(node_class={"floorPercent": 1}, **FED), feed=fed(gpu=50_000)).rates.gpu == 50_000


def test_what_a_person_wrote_has_no_floor() -> None:
    assert quoted(prices(node_class={"onDemand": {"gpu": "0", "cpu": "0", "memoryGiB": "0"}})).rates.gpu == 0


def test_a_cap_of_nothing_may_be_reached_by_a_feed() -> None:
    cap = {"gpu": "5.00", "cpu": "0", "memoryGiB": "0.005"}
    fresh = Fresh(HourlyRates(3_000_000, 0, 3_000), NOW)
    assert quoted(prices(node_class={"cap": cap}, **FED), feed={("list", "h100"): Fed(NOW, fresh, None)})


# -- places ------------------------------------------------------------------------------------------------


def test_each_capacity_has_its_own_nodes() -> None:
    taint = {"key": "nvidia.com/gpu", "operator": "Exists"}
    spot_taint = {"key": "spot", "value": "true", "effect": "NoSchedule"}
    spot = {**SPOT, "nodeSelector": {"capacity": "spot"}, "tolerations": [spot_taint]}
    lists = prices(node_class={"spot": spot, "tolerations": [taint]})
    firm, cheap = quoted(lists), quoted(lists, capacity="Spot")
    product = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert (firm.node_selector, cheap.node_selector) == (product, product | {"capacity": "spot"})
    assert [one.key for one in firm.tolerations] == ["nvidia.com/gpu"]
    assert [one.key for one in cheap.tolerations] == ["nvidia.com/gpu", "spot"]


@pytest.mark.parametrize("selector", [{}, {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}])
def test_spot_capacity_whose_nodes_nothing_tells_apart_has_no_price(selector: dict[str, str]) -> None:
    found = refused(prices(node_class={"spot": {**SPOT, "nodeSelector": selector}}), capacity="Spot")
    assert found.reason == "AmbiguousNodes"
    assert "give spot.nodeSelector in PriceList 'list' a label that only spot nodes carry" in found.message


def test_a_class_that_is_spot_capacity_alone_needs_no_other_label() -> None:
    assert quoted(prices(node_class={"onDemand": None, "spot": SPOT}), capacity="Spot")


def test_spot_prices_of_a_feed_need_spot_nodes() -> None:
    feed = fed(spot=Fresh(HourlyRates(1_000_000, 10_000, 1_000), NOW))
    assert quoted(prices(**FED), capacity="Spot", feed=feed).node_selector["capacity"] == "spot"
    found = refused(prices(node_class={"spot": None}, **FED), capacity="Spot", feed=feed)
    assert (found.reason, found.message) == (
        "NoPrice",
        (
            "node class 'h100' has no spot price: PriceList 'list' does not say which of its nodes are spot;"
            " write spot.nodeSelector"
        ),
    )


def test_declared_prices_do_not_stand_in_for_a_feed() -> None:
    assert refused(prices(**FED)).reason == "NoPrice"


def test_a_fed_profile_moves_with_the_whole_gpu() -> None:
    assert quoted(prices(**FED), gpu=MIG, feed=fed(gpu=2_500_000)).rates.gpu == 375_000
    without = prices(node_class={"cap": {"cpu": "1", "memoryGiB": "1"}}, **FED)
    assert refused(without, resources=pod(MIG), feed=fed(gpu=0)).reason == "NoPrice"


def test_a_price_that_changes_midway_is_metered_at_both() -> None:
    resources = Resources(gpu=1, cpu="1", memory="1Gi")
    spans = [(HourlyRates(3_600_000, 0, 0), 10), (HourlyRates(7_200_000, 0, 0), 5)]
    assert metered(resources, spans) == 20_000


# -- books that are kept from pass to pass -----------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-7200, 7200), st.booleans()), max_size=12))
def test_a_book_that_is_kept_says_what_a_new_one_would(passes: list[tuple[int, int, bool]]) -> None:
    whole, fed = pod(), HourlyRates(4_000_000, 40_000, 4_000, storage_gib=0)
    lists = [
        (prices("a"),),
        (prices("a", maxAge="1h", asOf="2026-11-30T00:13:20Z"),),
        (prices("b", source="AWS", aws={"region": "us-east-1"}, asOf=None, maxAge="1h"),),
        (prices("a"), prices("b")),
    ]
    shelf = Shelf()
    for which, later, fed_now in passes:
        feed = {("b", "h100"): Fed(NOW, Fresh(fed, NOW), None)} if fed_now else {}
        kept = shelf.book(lists[which], NOW + later, feed)
        new = PriceBook(lists[which], NOW + later, feed)
        for capacity in ("OnDemand", "Spot"):
            assert kept.quote("h100", capacity, "USD", whole) == new.quote("h100", capacity, "USD", whole)
            assert kept.price("h100", capacity, "USD") == new.price("h100", capacity, "USD")


def test_a_book_is_kept_until_a_price_is_too_old() -> None:
    lists, shelf = (prices("a", maxAge="1h", asOf="2026-11-30T00:53:20Z"),), Shelf()
    first = shelf.book(lists, NOW, {})
    stamp = int(datetime.fromisoformat("2026-11-30T00:53:20Z").timestamp())
    assert shelf.book(lists, stamp + 3600, {}) is first
    stale = shelf.book(lists, stamp + 3601, {}).quote("h100", "OnDemand", "USD", pod())
    assert isinstance(stale, Unpriced)
    assert stale.reason == "StalePrice"
