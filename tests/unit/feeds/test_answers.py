"""AWS's and OpenCost's answers, in the forms of their references, and the prices parsed from them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.feeds import aws, opencost
from comptroller.pricing.fed import FeedError, Shape, split, spread
from comptroller.pricing.rates import HourlyRates
from comptroller_api.pricelist import NodeClass
from comptroller_api.study import Resources

HERE = Path(__file__).parent
NOW = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp())
HOUR = 3600


def product(change: Callable[[dict[str, Any]], None] = lambda _: None) -> str:
    found = json.loads((HERE / "get-products.json").read_text())
    change(found)
    return json.dumps(found)


def per_hour(found: dict[str, Any]) -> dict[str, Any]:
    (term,) = found["terms"]["OnDemand"].values()
    (dimension,) = term["priceDimensions"].values()
    return dimension  # type: ignore[no-any-return]


def test_an_offer_is_the_on_demand_price_of_the_whole_machine_rounded_up() -> None:
    found = aws.offer([product()], "USD")
    assert found.price == 98_320_001
    assert found.shape == Shape(gpus=8, cores=192, memory_mib=1952 * 1024)
    assert found.since == int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())


def test_a_machine_without_gpus_says_nothing_of_them() -> None:
    assert aws.offer([product(lambda p: p["product"]["attributes"].pop("gpu"))], "USD").shape.gpus == 0


@pytest.mark.parametrize(
    ("products", "says"),
    [
        ([], "there is no offer in USD"),
        (["{"], "not of the known form: JSONDecodeError"),
        ([product(lambda p: p.pop("terms"))], "not of the known form: KeyError: 'terms'"),
        ([product(lambda p: p["product"]["attributes"].update(memory="NA"))], "memory is 'NA'"),
        ([product(lambda p: per_hour(p).update(pricePerUnit={"CNY": "9"}))], "there is no offer in USD"),
        ([product(lambda p: per_hour(p)["pricePerUnit"].update(USD="-1"))], "'-1' is a negative price"),
        ([product(lambda p: per_hour(p)["pricePerUnit"].update(USD="NaN"))], "'NaN' is not a price"),
        ([product(lambda p: per_hour(p)["pricePerUnit"].update(USD="Infinity"))], "is not a price"),
        ([product(lambda p: per_hour(p)["pricePerUnit"].update(USD="0.0000000000"))], "there is no offer"),
        (
            [product(), product(lambda p: per_hour(p)["pricePerUnit"].update(USD="99"))],
            "there are several offers: 98.320001, 99.00 USD",
        ),
    ],
)
def test_an_invalid_offer_is_refused_with_the_reason(products: list[str], says: str) -> None:
    with pytest.raises(FeedError) as refused:
        aws.offer(products, "USD")
    assert says in str(refused.value)


def change(zone: str, hours_ago: float, price: str) -> dict[str, Any]:
    return {
        "AvailabilityZone": zone,
        "InstanceType": "p5.48xlarge",
        "ProductDescription": "Linux/UNIX",
        "SpotPrice": price,
        "Timestamp": datetime.fromtimestamp(NOW - int(hours_ago * HOUR), UTC),
    }


def test_the_spot_price_is_that_of_the_dearest_zone_of_now() -> None:
    history = [change("a", 1, "30.10"), change("b", 5, "31.20"), change("a", 50, "99"), change("b", 90, "12")]
    found = aws.spot(history, [], NOW - 100 * HOUR, NOW)
    assert found is not None
    assert (found.price, found.since) == (31_200_000, NOW - 5 * HOUR)


def test_only_the_zones_that_are_named_count() -> None:
    history = [change("a", 1, "30.10"), change("b", 5, "31.20")]
    found = aws.spot(history, ["a"], NOW - 100 * HOUR, NOW)
    assert found is not None
    assert found.price == 30_100_000
    assert aws.spot(history, ["c"], NOW - 100 * HOUR, NOW) is None


def test_the_spread_is_weighted_by_how_long_each_price_was_in_force() -> None:
    # 90 hours at 10 (of which 80 are in the window), then 20 at 20.
    history = [change("a", 20, "20"), change("a", 110, "10")]
    found = aws.spot(history, [], NOW - 100 * HOUR, NOW)
    assert found is not None
    assert found.spread == ((5, 50), (25, 50), (50, 50), (75, 50), (95, 100), (100, 100))


def test_prices_of_the_future_and_of_nowhere_are_left_out() -> None:
    assert aws.spot([change("a", -1, "5")], [], NOW - HOUR, NOW) is None
    assert aws.spot([], [], NOW - HOUR, NOW) is None


@pytest.mark.parametrize("broken", [{}, {"SpotPrice": "free"}, {"SpotPrice": "0"}, {"Timestamp": "now"}])
def test_an_invalid_spot_price_is_refused(broken: dict[str, Any]) -> None:
    item = {**change("a", 1, "30"), **broken} if broken else {}
    with pytest.raises(FeedError):
        aws.spot([item], [], NOW - HOUR, NOW)


amounts = st.integers(0, 10**8)


@given(
    st.integers(1, 10**10),
    st.builds(Shape, st.integers(0, 8), st.integers(1, 192), st.integers(512, 2**21)),
    amounts,
    st.integers(1, 10**8),
    amounts,
)
def test_the_rates_of_a_machine_add_up_to_its_price(
    price: int, shape: Shape, gpu: int, cpu: int, memory: int
) -> None:
    cap = HourlyRates(gpu, cpu, memory)
    rates = split(price, shape, cap)
    whole = Resources(gpu=min(shape.gpus, 16), cpu=str(shape.cores), memory=f"{shape.memory_mib}Mi")
    assert price <= rates.cost(whole, HOUR) <= price + shape.gpus + shape.cores + shape.memory_mib // 1024 + 1
    # They exceed the cap exactly if the machine costs more than the cap.
    most = gpu * shape.gpus + cpu * shape.cores + memory * shape.memory_mib // 1024
    if price <= most:
        assert rates.over(cap) == []
    elif price > most + 1:
        assert rates.over(cap)


def test_a_cap_that_charges_for_nothing_there_cannot_be_split_by() -> None:
    with pytest.raises(FeedError, match="its cap charges for nothing"):
        split(1, Shape(0, 2, 1024), HourlyRates(5, 0, 0))


@given(st.lists(st.tuples(st.integers(1, 10**7), st.integers(0, 10**6)), max_size=30), st.integers(1, 10**7))
def test_a_spread_ascends_and_reaches_the_highest_price(history: list[tuple[int, int]], now: int) -> None:
    found = spread(history, now)
    assert [percent for _, percent in found] == sorted(percent for _, percent in found)
    lasted = [price for price, seconds in history if seconds]
    if lasted:
        assert found[-1] == (100, -(-100 * max(lasted) // now))
    else:
        assert found == ()


# -- OpenCost ----------------------------------------------------------------------------------------------


def assets(change: Callable[[dict[str, Any]], None] = lambda _: None) -> Any:
    found = json.loads((HERE / "assets.json").read_text(), parse_float=Decimal, parse_int=Decimal)
    change(found)
    return found


def node_class(**fields: Any) -> NodeClass:
    base = {
        "name": "a10g",
        "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-A10G"},
        "cap": {"gpu": "2", "cpu": "0.1", "memoryGiB": "0.01"},
    }
    return NodeClass.model_validate(base | fields)


def test_costs_over_hours_are_rates_with_discounts_off_cores_and_memory() -> None:
    found = opencost.fed(opencost.nodes(assets()), node_class(), NOW)
    assert found.as_of == NOW
    assert found.on_demand is not None
    # 3.84 less a quarter over 96 core-hours; 19.20 over 24 GPU-hours; 1.92 less a quarter over 384 GiB-hours.
    assert found.on_demand.rates == HourlyRates(gpu=800_000, cpu=30_000, memory_gib=3_750)


def test_nodes_that_can_be_preempted_are_spot_capacity() -> None:
    found = opencost.fed(opencost.nodes(assets()), node_class(), NOW)
    assert found.spot is not None
    assert found.spot.rates == HourlyRates(gpu=300_000, cpu=10_000, memory_gib=1_250)


def test_a_list_of_sets_is_read_as_well() -> None:
    listed = assets(lambda reply: reply.update(data=[reply["data"]]))
    assert opencost.nodes(listed) == opencost.nodes(assets())


def test_a_class_whose_nodes_are_not_there_has_no_price() -> None:
    with pytest.raises(FeedError, match="no node was there that its nodeSelector selects"):
        opencost.fed(opencost.nodes(assets()), node_class(nodeSelector={"nvidia.com/gpu.product": "T4"}), NOW)


def test_gpus_that_cost_nothing_because_there_are_none_are_not_free() -> None:
    def gone(reply: dict[str, Any]) -> None:
        for asset in reply["data"].values():
            asset.update(GPUHours=Decimal(0), gpuCost=Decimal(0))

    with pytest.raises(FeedError, match="have no GPUs and its cap charges for some"):
        opencost.fed(opencost.nodes(assets(gone)), node_class(), NOW)
    found = opencost.fed(opencost.nodes(assets(gone)), node_class(cap={"cpu": "1", "memoryGiB": "1"}), NOW)
    assert found.on_demand is not None
    assert found.on_demand.rates.gpu == 0


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ({"code": Decimal(500), "message": "prometheus is away"}, "it answers 500: prometheus is away"),
        ({"code": Decimal(200)}, "not of the known form: KeyError"),
        ([], "not of the known form: TypeError"),
        ({"code": Decimal(200), "data": {"a": {"type": "Node"}}}, "not of the known form: KeyError"),
        ({"code": Decimal(200), "data": {"a": None}}, "not of the known form: AttributeError"),
    ],
)
def test_an_invalid_answer_is_refused_with_the_reason(reply: Any, says: str) -> None:
    with pytest.raises(FeedError) as refused:
        opencost.nodes(reply)
    assert says in str(refused.value)


def test_a_negative_cost_is_refused() -> None:
    def negative(reply: dict[str, Any]) -> None:
        for asset in reply["data"].values():
            asset.update(cpuCost=Decimal(-1))

    with pytest.raises(FeedError, match="cpuCost of a node is -1"):
        opencost.fed(opencost.nodes(assets(negative)), node_class(), NOW)
