"""The price book: which list wins, what is refused, and what MIG profiles and feeds do to a quote."""

from typing import Any

import pytest

from comptroller.pricing import Fed, PriceBook, Quote, Unfed, Unpriced
from comptroller.pricing.fed import Fresh
from comptroller.pricing.rates import HourlyRates, metered
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Resources

NOW = 1_796_000_000
MIG = "nvidia.com/mig-1g.10gb"


def prices(name: str = "list", node_class: dict[str, Any] | None = None, **spec: Any) -> PriceList:
    one = {
        "name": "h100",
        "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
        "onDemand": {"gpu": "4.00", "cpu": "0.04", "memoryGiB": "0.004"},
        "spot": {"gpu": "1.50", "cpu": "0.02", "memoryGiB": "0.002"},
        "cap": {"gpu": "5.00", "cpu": "0.05", "memoryGiB": "0.005"},
        "gpuProfiles": [{"resource": MIG, "onDemand": "0.60", "cap": "0.75"}],
        **(node_class or {}),
    }
    spec = {"currency": "USD", "asOf": "2026-11-01T00:00:00Z", "nodeClasses": [one], **spec}
    return PriceList.model_validate({"metadata": {"name": name}, "spec": spec})


def quoted(*lists: PriceList, capacity: str = "OnDemand", gpu: str = "nvidia.com/gpu", **feed: Any) -> Quote:
    found = PriceBook(lists, NOW, feed.get("feed", {})).quote("h100", capacity, "USD", gpu)
    assert isinstance(found, Quote), found
    return found


def refused(
    *lists: PriceList, capacity: str = "OnDemand", gpu: str = "nvidia.com/gpu", **feed: Any
) -> Unpriced:
    found = PriceBook(lists, NOW, feed.get("feed", {})).quote("h100", capacity, "USD", gpu)
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
        found = refused(prices(), capacity=capacity, gpu=gpu)
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


def test_lists_of_equal_rank_price_nothing() -> None:
    found = refused(prices("a"), prices("b"))
    assert found.reason == "AmbiguousPrice"
    assert found.message == "node class 'h100' is priced by several lists of priority 0: a, b"


@pytest.mark.parametrize("order", [1, -1])
def test_the_higher_rank_wins(order: int) -> None:
    lists = [prices("a"), prices("b", {"onDemand": {"gpu": "3.00"}}, priority=1)][::order]
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

FED = {"source": "AWS", "asOf": None, "aws": {"region": "us-east-1"}, "maxAge": "1h"}


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
    assert "it has not been asked yet" in refused(prices(**FED)).message
    found = refused(prices(**FED), feed={("list", "h100"): Unfed("it cannot be asked: AccessDenied")})
    assert found.reason == "NoPrice"
    assert "AWS has no price for PriceList 'list': it cannot be asked: AccessDenied" in found.message


def test_a_source_without_spot_capacity_has_no_spot_price() -> None:
    assert refused(prices(**FED), capacity="Spot", feed=fed()).reason == "NoPrice"


def test_declared_prices_do_not_stand_in_for_a_feed() -> None:
    assert refused(prices(**FED)).reason == "NoPrice"


def test_a_fed_profile_moves_with_the_whole_gpu() -> None:
    assert quoted(prices(**FED), gpu=MIG, feed=fed(gpu=2_500_000)).rates.gpu == 375_000
    without = prices(node_class={"cap": {"cpu": "1"}}, **FED)
    assert refused(without, gpu=MIG, feed=fed(gpu=0)).reason == "NoPrice"


def test_a_price_that_changes_midway_is_metered_at_both() -> None:
    resources = Resources(gpu=1, cpu="1", memory="1Gi")
    spans = [(HourlyRates(3_600_000, 0, 0), 10), (HourlyRates(7_200_000, 0, 0), 5)]
    assert metered(resources, spans) == 20_000
