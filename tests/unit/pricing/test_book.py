"""The price book: the list that wins, refusals, MIG profiles, and the nodes of a quote."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.pricing import Fed, PriceBook, Shelf, Unpriced
from comptroller.pricing.fed import Fresh
from comptroller.pricing.rates import HourlyRates
from comptroller_api.study import Resources
from support.pricelists import FED, MIG, NOW, SPOT, fed, pod, prices, quoted, refused


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
