"""Requests to AWS and OpenCost: their parameters, their bounds, and the price that stays after a failure."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto import mock_aws

from comptroller.feeds import SOURCES, Feeds, bounded
from comptroller.feeds.aws import AwsPrices, Boto
from comptroller.feeds.opencost import OpenCostPrices
from comptroller.pricing import Fed, PriceBook, Quote, Unfed
from comptroller.pricing.fed import FeedError
from comptroller_api.pricelist import FEEDS, PriceList, PriceListSpec

HERE = Path(__file__).parent
OFFER = (HERE / "get-products.json").read_text()
ASSETS = (HERE / "assets.json").read_bytes()
NOW = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp())
CAP = {"gpu": "20", "cpu": "0.1", "memoryGiB": "0.02"}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)


def from_aws(name: str = "aws", **node_class: Any) -> PriceList:
    spot = {"nodeSelector": {"karpenter.sh/capacity-type": "spot"}}
    one = {"name": "p5", "instanceType": "p5.48xlarge", "spot": spot, "cap": CAP, **node_class}
    spec = {
        "currency": "USD",
        "source": "AWS",
        "maxAge": "1h",
        "aws": {"region": "eu-central-1"},
        "nodeClasses": [one],
    }
    return PriceList.model_validate({"metadata": {"name": name}, "spec": spec})


def from_opencost(url: str = "http://opencost:9003/") -> PriceList:
    selector = {"nvidia.com/gpu.product": "NVIDIA-A10G"}
    classes = [
        {"name": "a10g", "nodeSelector": selector, "cap": CAP},
        {"name": "t4", "nodeSelector": {"nvidia.com/gpu.product": "T4"}, "cap": CAP},
    ]
    spec = {
        "currency": "USD",
        "source": "OpenCost",
        "maxAge": "1h",
        "openCost": {"url": url, "window": "24h"},
        "nodeClasses": classes,
    }
    return PriceList.model_validate({"metadata": {"name": "opencost"}, "spec": spec})


class Aws:
    """AWS's answers, or its failure."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure

    def products(self, _: str, __: str) -> Iterable[str]:
        if self.failure:
            raise self.failure
        return [OFFER]

    def spot_history(self, _: str, __: str, start: datetime) -> Iterable[Mapping[str, Any]]:
        yield {"AvailabilityZone": "eu-central-1a", "SpotPrice": "35.5", "Timestamp": start}


def reading(aws: Any = None, fetch: Any = None, clock: Callable[[], int] = lambda: NOW) -> Feeds:
    """Return feeds of AWS and OpenCost with these answers."""
    opencost = OpenCostPrices(fetch) if fetch else OpenCostPrices()
    return Feeds(clock, {"AWS": AwsPrices(aws or Aws()), "OpenCost": opencost})


DENIED = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetProducts")


def test_a_list_of_aws_gets_both_prices_and_the_plan_can_quote_them() -> None:
    found = reading(Aws())
    found.refresh([from_aws()])
    book = PriceBook([from_aws()], NOW, found.feed)
    firm, spot = (book.quote("p5", capacity, "USD") for capacity in ("OnDemand", "Spot"))
    assert isinstance(firm, Quote)
    assert isinstance(spot, Quote)
    low, middle, high = (rates.gpu or 0 for rates in (spot.rates, firm.rates, firm.cap))
    assert 0 < low < middle < high
    assert spot.spread[-1] == (100, 100)


def test_each_source_of_the_schema_has_its_reader_and_no_other_has() -> None:
    offered = get_args(PriceListSpec.model_fields["source"].annotation)
    assert {*SOURCES, "Static"} == {*FEEDS, "Static"} == set(offered)


def test_static_lists_are_not_requested() -> None:
    found = reading(Aws(AssertionError("requested")))
    spec = {"currency": "USD", "asOf": "2026-11-01T00:00:00Z", "nodeClasses": [{"name": "a", "cap": CAP}]}
    found.refresh([PriceList.model_validate({"metadata": {"name": "static"}, "spec": spec})])
    assert found.feed == {}


def test_a_failure_keeps_the_last_price_which_grows_old() -> None:
    now, source = [NOW], Aws()
    found = reading(source, clock=lambda: now[0])
    found.refresh([from_aws()])
    source.failure, now[0] = DENIED, NOW + 1800
    found.refresh([from_aws()])
    kept = found.feed["aws", "p5"]
    assert isinstance(kept, Fed)
    assert kept.as_of == NOW
    assert isinstance(PriceBook([from_aws()], NOW + 3600, found.feed).quote("p5", "OnDemand", "USD"), Quote)
    late = PriceBook([from_aws()], NOW + 3601, found.feed).quote("p5", "OnDemand", "USD")
    assert not isinstance(late, Quote)
    assert late.reason == "StalePrice"


def test_a_price_of_other_terms_is_not_kept() -> None:
    source = Aws()
    found = reading(source)
    found.refresh([from_aws()])
    source.failure = DENIED
    found.refresh([from_aws(instanceType="p4d.24xlarge")])
    assert isinstance(found.feed["aws", "p5"], Unfed)


def test_a_list_that_is_gone_leaves_nothing_behind() -> None:
    found = reading(Aws())
    found.refresh([from_aws()])
    found.refresh([])
    assert found.feed == {}


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (DENIED, "ClientError: An error occurred (AccessDeniedException)"),
        (FeedError("there is no offer in USD"), "there is no offer in USD"),
        (httpx.ConnectError("refused"), "ConnectError: refused"),
        (RuntimeError("anything\nat all"), "RuntimeError: anything"),
    ],
)
def test_the_reason_of_a_missing_price_is_reported(failure: Exception, says: str) -> None:
    found = reading(Aws(failure))
    found.refresh([from_aws()])
    answer = found.feed["aws", "p5"]
    assert isinstance(answer, Unfed)
    assert says in answer.why


def test_opencost_is_read_once_for_all_classes_of_a_list() -> None:
    requests: list[tuple[str, Mapping[str, str]]] = []

    def fetch(url: str, query: Mapping[str, str]) -> bytes:
        requests.append((url, query))
        return ASSETS

    found = reading(fetch=fetch)
    found.refresh([from_opencost()])
    window = "2026-11-23T12:00:00Z,2026-11-24T12:00:00Z"
    assert requests == [("http://opencost:9003/assets", {"window": window, "filter": 'assetType:"node"'})]
    assert isinstance(found.feed["opencost", "a10g"], Fed)
    missing = found.feed["opencost", "t4"]
    assert isinstance(missing, Unfed)
    assert "no node was there" in missing.why


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda _: httpx.Response(503), "HTTPStatusError"),
        (lambda _: httpx.Response(200, text="<html>"), "its answer is not JSON"),
        (lambda _: httpx.Response(200, content=b"\xff"), "its answer is not JSON"),
        (lambda _: httpx.Response(200, json={"code": 400, "message": "bad window"}), "it answers 400: bad"),
        (lambda _: httpx.Response(200, content=b" " * 2000), "it answers more than 1000 bytes"),
        (lambda _: httpx.Response(302, headers={"Location": "http://evil"}), "HTTPStatusError: Redirect"),
        (lambda _: httpx.Response(200, content=b"[" * 900), "its answer is not JSON"),
        (
            lambda _: httpx.Response(200, content=b'{"code": NaN}'),
            "its answer is not JSON: NaN is not a number",
        ),
    ],
)
def test_an_invalid_answer_prices_nothing(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[httpx.Request], httpx.Response], says: str
) -> None:
    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(bounded, "MOST_BYTES", 1000)
    monkeypatch.setattr(httpx, "stream", client.stream)
    found = reading()
    found.refresh([from_opencost()])
    for name in ("a10g", "t4"):
        found_feed = found.feed["opencost", name]
        assert isinstance(found_feed, Unfed)
        assert says in found_feed.why


def test_what_a_source_writes_is_short_and_steers_no_terminal() -> None:
    answer = {"code": 500, "message": "\x1b[31mred\x1b]0;title\x07\u202e " * 10_000}
    found = reading(fetch=lambda _url, _query: json.dumps(answer).encode())
    found.refresh([from_opencost()])
    found_feed = found.feed["opencost", "a10g"]
    assert isinstance(found_feed, Unfed)
    assert found_feed.why.startswith("it answers 500: red red red")
    assert found_feed.why.isprintable()
    assert len(found_feed.why) <= 512


@pytest.mark.parametrize("url", ["http://opencost..svc:9003", "http://:9003", "http://", "http://[", "x://y"])
def test_an_invalid_url_is_reported_and_stops_nothing(url: str) -> None:
    broken = from_opencost()
    terms = broken.spec.open_cost.model_copy(update={"url": url})  # type: ignore[union-attr]
    broken = broken.model_copy(update={"spec": broken.spec.model_copy(update={"open_cost": terms})})
    found = reading(Aws())
    found.refresh([broken, from_aws()])
    found_feed = found.feed["opencost", "a10g"]
    assert isinstance(found_feed, Unfed)
    assert re.match(r"it cannot be \w+: \w+", found_feed.why)
    assert isinstance(found.feed["aws", "p5"], Fed)


@pytest.mark.parametrize(
    "name", ["gpuCost", "GPUHours", "cpuCost", "cpuCoreHours", "ramCost", "ramByteHours"]
)
@pytest.mark.parametrize("value", ['"NaN"', '"Infinity"', "-1", "1e400", '"x"', "null", "[]", "true"])
def test_an_invalid_number_is_no_price(name: str, value: str) -> None:
    answer = re.sub(rb'("%s"): [^,}]+' % name.encode(), rb"\1: " + value.encode(), ASSETS)
    found = reading(fetch=lambda *_: answer)
    found.refresh([from_opencost()])
    found_feed = found.feed["opencost", "a10g"]
    assert isinstance(found_feed, Unfed)
    assert name in found_feed.why or "not of the known form" in found_feed.why


def test_an_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip() -> Iterator[bytes]:
        while True:
            yield b" "

    client = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=drip())))
    monkeypatch.setattr(httpx, "stream", client.stream)
    monkeypatch.setattr(bounded, "MOST_SECONDS", 0)
    with pytest.raises(FeedError, match="its answer takes more than 0 s"):
        bounded.http_get("http://opencost", {})


# -- boto3 -------------------------------------------------------------------------------------------------


@mock_aws
def test_spot_prices_come_from_ec2() -> None:
    history = list(Boto().spot_history("us-east-1", "m5.large", datetime(2006, 1, 1, tzinfo=UTC)))
    assert len(history) > 2
    assert {item["InstanceType"] for item in history} == {"m5.large"}
    assert {"AvailabilityZone", "SpotPrice", "Timestamp"} <= history[0].keys()


@pytest.fixture
def pricing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """The Price List API, which must get exactly the expected requests, in its one region."""
    client = boto3.client("pricing", region_name="us-east-1")
    regions: list[str] = []

    def connected(_: boto3.Session, __: str, region_name: str, **___: Any) -> Any:
        regions.append(region_name)
        return client

    monkeypatch.setattr(boto3.Session, "client", connected)
    with Stubber(client) as stub:
        yield stub
    assert regions == ["us-east-1"]


WANTED = {
    "ServiceCode": "AmazonEC2",
    "Filters": [
        {"Type": "TERM_MATCH", "Field": field, "Value": value}
        for field, value in {
            "operatingSystem": "Linux",
            "tenancy": "Shared",
            "capacitystatus": "Used",
            "preInstalledSw": "NA",
            "licenseModel": "No License required",
            "marketoption": "OnDemand",
            "instanceType": "p5.48xlarge",
            "regionCode": "eu-central-1",
        }.items()
    ],
}


def test_offers_come_from_the_price_list_page_by_page(pricing: Stubber) -> None:
    pricing.add_response("get_products", {"PriceList": [OFFER], "NextToken": "more"}, WANTED)
    pricing.add_response("get_products", {"PriceList": []}, {**WANTED, "NextToken": "more"})
    assert list(Boto().products("eu-central-1", "p5.48xlarge")) == [OFFER]
    pricing.assert_no_pending_responses()


def test_more_than_can_be_held_is_refused_and_not_cut(
    pricing: Stubber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded, "MOST_ITEMS", 1)
    pricing.add_response("get_products", {"PriceList": [OFFER, OFFER]}, WANTED)
    with pytest.raises(FeedError, match="more than 1 prices"):
        list(Boto().products("eu-central-1", "p5.48xlarge"))


def test_a_malformed_credential_is_not_in_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASECRET\nx")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    feeds = Feeds(lambda: NOW, {"AWS": AwsPrices()})
    feeds.refresh([from_aws()])
    [answer] = feeds.feed.values()
    assert isinstance(answer, Unfed)
    assert "is there a line break in the access key ID" in answer.why
    assert "AKIASECRET" not in answer.why
