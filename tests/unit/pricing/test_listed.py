"""A price list's condition, and the isolation of one list's problem from other lists."""

from collections.abc import Mapping
from typing import Any

import pytest

from comptroller.cluster.api import Api
from comptroller.cluster.pricelists import PriceKeeper
from comptroller.feeds import Feeds
from comptroller.feeds.opencost import OpenCostPrices
from comptroller.plan.listed import price_list_status
from comptroller.pricing import Fed, Unfed
from comptroller.pricing.fed import FeedError, Fresh
from comptroller.pricing.rates import HourlyRates
from comptroller_api.pricelist import PriceList

NOW = 1_796_000_000
RATES = {"cpu": "1", "memoryGiB": "0.1"}


def body(name: str = "list", classes: list[dict[str, Any]] | None = None, **spec: Any) -> dict[str, Any]:
    classes = classes or [{"name": "small", "onDemand": RATES, "cap": {"cpu": "2", "memoryGiB": "0.2"}}]
    spec = {"currency": "USD", "asOf": "2026-11-01T00:00:00Z", "nodeClasses": classes, **spec}
    meta = {"name": name, "uid": name, "resourceVersion": "7", "generation": 3}
    return {"metadata": meta, "spec": spec}


OPENCOST: dict[str, Any] = {
    "source": "OpenCost",
    "asOf": None,
    "maxAge": "1h",
    "openCost": {"url": "http://opencost:9003"},
}


def condition(
    *bodies: dict[str, Any], feed: Mapping[tuple[str, str], Fed | Unfed] | None = None
) -> tuple[str, ...]:
    lists = [PriceList.model_validate(one) for one in bodies]
    status = price_list_status(lists[0], lists, feed or {}, NOW)
    (found,) = status.conditions
    assert (found.type, found.observed_generation, status.observed_generation) == ("Ready", 3, 3)
    return found.status, found.reason, found.message


def test_a_list_whose_classes_all_have_a_price_is_ready() -> None:
    assert condition(body()) == ("True", "Priced", "1 node class has a price")


def test_a_stale_list_says_since_when() -> None:
    status, reason, message = condition(body(maxAge="1h"))
    assert (status, reason) == ("False", "StalePrice")
    assert "is of 2026-11-01T00:00:00Z, over its maxAge 1h" in message


def test_lists_that_price_one_class_both_say_so() -> None:
    status, reason, message = condition(body(), body("other"))
    assert (status, reason) == ("False", "AmbiguousPrice")
    assert "list, other" in message


def test_a_list_under_another_is_ready_by_itself() -> None:
    assert condition(body(), body("other", priority=1, maxAge="1s"))[0] == "True"


def test_spot_nodes_that_nothing_tells_apart_are_named() -> None:
    one = {"name": "small", "onDemand": RATES, "spot": RATES, "cap": RATES}
    assert condition(body(classes=[one]))[:2] == ("False", "AmbiguousNodes")


def test_a_silent_source_is_reported_at_once_and_its_last_prices_with_their_age() -> None:
    assert condition(body(**OPENCOST), feed={("list", "small"): Unfed("it is away")}) == (
        "False",
        "NoPrice",
        "node class 'small' has no price: OpenCost has no price for PriceList 'list': it is away",
    )
    fresh = Fresh(HourlyRates(None, 1_000_000, 100_000), NOW)
    known = Fed(NOW - 60, fresh, None, "it is away")
    assert condition(body(**OPENCOST), feed={("list", "small"): known}) == (
        "True",
        "LastPrices",
        "the last prices are used: OpenCost has none for node class 'small': it is away",
    )


def test_a_condition_steers_no_terminal() -> None:
    feed = {("list", "small"): Unfed("\x1b[31mred\u202e\x07")}
    _, _, message = condition(body(**OPENCOST), feed=feed)
    assert message.endswith("OpenCost has no price for PriceList 'list': red")


@pytest.mark.parametrize("cpu", [0, 1_000])
def test_an_implausible_answer_is_reported(cpu: int) -> None:
    known = Fed(NOW, Fresh(HourlyRates(None, cpu, 100_000), NOW), None)
    assert condition(body(**OPENCOST), feed={("list", "small"): known})[:2] == ("False", "ImplausiblePrice")


def test_a_condition_keeps_its_time_until_it_turns() -> None:
    first = price_list_status(PriceList.model_validate(body()), [], {}, NOW)
    again = PriceList.model_validate(body() | {"status": first.to_json()})
    assert price_list_status(again, [again], {}, NOW + 60) == first


# -- the keeper --------------------------------------------------------------------------------------------


class Server(Api):
    """An API server that takes patches."""

    def __init__(self, broken: str = "") -> None:
        self.written: dict[str, Any] = {}
        self.broken = broken

    async def patch(self, where: str, operations: list[dict[str, Any]]) -> dict[str, Any] | None:
        test, change = operations
        assert test == {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
        *_, name, sub = where.split("/")
        assert sub == "status"
        if name == self.broken:
            raise RuntimeError("the server is away")
        self.written[name] = change["value"]
        return {}


def keeper(server: Server, fetch: Any = None) -> PriceKeeper:
    def away(*_: Any) -> bytes:
        raise FeedError("it is away")

    feeds = Feeds(lambda: NOW, {"OpenCost": OpenCostPrices(fetch or away)})
    return PriceKeeper(server, feeds, lambda: NOW, every=300)


def reasons(server: Server) -> dict[str, str]:
    return {name: status["conditions"][0]["reason"] for name, status in server.written.items()}


async def test_each_list_gets_its_own_condition() -> None:
    server = Server()
    bad_url = {**OPENCOST, "openCost": {"url": "http://opencost..svc:9003"}}
    lists = [
        body("good"),
        body("bad", **bad_url),
        body("silent", **OPENCOST),
        {"metadata": body("none")["metadata"]},
    ]
    lists[1]["spec"]["nodeClasses"][0]["name"] = lists[2]["spec"]["nodeClasses"][0]["name"] = "other"
    assert await keeper(server).round(lists)
    assert reasons(server) == {"good": "Priced", "bad": "Refused", "silent": "NoPrice", "none": "Refused"}
    assert "openCost.url" in server.written["bad"]["conditions"][0]["message"]


async def test_a_status_that_cannot_be_written_stops_no_other() -> None:
    server = Server(broken="a")
    await keeper(server).round(
        [body("a", classes=[{"name": "x", "onDemand": RATES, "cap": RATES}]), body("b")]
    )
    assert reasons(server) == {"b": "Priced"}


async def test_what_is_written_already_is_not_written_again() -> None:
    server = Server()
    one = keeper(server)
    assert await one.round([body()])
    stored = body() | {"status": server.written.pop("list")}
    assert not await one.round([stored])
    assert server.written == {}


async def test_a_changed_list_is_read_at_once() -> None:
    urls: list[str] = []

    def fetch(url: str, _: Any) -> bytes:
        urls.append(url)
        return b"{}"

    one = keeper(Server(), fetch)
    await one.round([body(**OPENCOST)])
    await one.round([body(**OPENCOST)])
    changed = body(**OPENCOST)
    changed["metadata"]["generation"] = 4
    await one.round([changed])
    assert len(urls) == 2
