"""A feed's price counts while it is recent, under the caps of its list, and over its floors."""

import re

import pytest

from comptroller.pricing import Fed, Unfed
from comptroller.pricing.fed import Fresh
from comptroller.pricing.rates import HourlyRates
from support.pricelists import FED, MIG, NOW, fed, pod, prices, quoted, refused


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


def test_declared_prices_do_not_stand_in_for_a_feed() -> None:
    assert refused(prices(**FED)).reason == "NoPrice"


def test_a_fed_profile_moves_with_the_whole_gpu() -> None:
    assert quoted(prices(**FED), gpu=MIG, feed=fed(gpu=2_500_000)).rates.gpu == 375_000
    without = prices(node_class={"cap": {"cpu": "1", "memoryGiB": "1"}}, **FED)
    assert refused(without, resources=pod(MIG), feed=fed(gpu=0)).reason == "NoPrice"
