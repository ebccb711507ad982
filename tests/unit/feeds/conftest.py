"""The harnesses with which AWS and OpenCost run the suite of price feeds."""

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from comptroller.feeds.aws import AwsPrices
from comptroller.feeds.base import PriceSource
from comptroller.feeds.opencost import OpenCostPrices
from comptroller.feeds.testing import KNOWN, UNKNOWN, PriceSourceConformance, Reply, Request, Service
from comptroller_api.pricelist import PriceList
from comptroller_api.study import Resources

HERE = Path(__file__).parent
OFFER = (HERE / "get-products.json").read_text()
CAP = {"gpu": "20", "cpu": "0.1", "memoryGiB": "0.02"}
KEY, TOKEN = "the-secret-key", "the-token-of-the-session"
_HISTORY = """<DescribeSpotPriceHistoryResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
<requestId>r</requestId><nextToken/><spotPriceHistorySet><item><instanceType>p5.48xlarge</instanceType>
<productDescription>Linux/UNIX</productDescription><spotPrice>35.5</spotPrice>
<timestamp>2026-11-24T12:00:00.000Z</timestamp><availabilityZone>eu-central-1a</availabilityZone></item>
</spotPriceHistorySet></DescribeSpotPriceHistoryResponse>"""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """Run a service on this machine, which boto3 takes for AWS."""
    with Service() as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
        monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
        yield found


def listed(source: str, terms: dict[str, Any], classes: dict[str, dict[str, Any]]) -> PriceList:
    spec = {
        "currency": "USD",
        "source": source,
        "maxAge": "1h",
        **terms,
        "nodeClasses": [{"name": name, "cap": CAP, **more} for name, more in classes.items()],
    }
    return PriceList.model_validate({"metadata": {"name": "prices"}, "spec": spec})


class AwsConformance(PriceSourceConformance):
    name = "AWS"
    machine = Resources(gpu=8, cpu="192", memory="1952Gi")
    limits_bodies = False  # boto3 reads them, from AWS
    secrets = (KEY, TOKEN)

    def source(self, service: Service) -> PriceSource:
        del service
        return AwsPrices()

    def prices(self, service: Service) -> PriceList:
        del service
        spot = {"spot": {"nodeSelector": {"karpenter.sh/capacity-type": "spot"}}}
        classes = {
            KNOWN: {"instanceType": "p5.48xlarge", **spot},
            UNKNOWN: {"instanceType": "x9.metal", **spot},
        }
        return listed("AWS", {"aws": {"region": "eu-central-1"}}, classes)

    def reply(self, request: Request, hourly: str, currency: str = "USD") -> Reply:
        if not _for_offers(request):
            assert parse_qs(request.body.decode())["Action"] == ["DescribeSpotPriceHistory"]
            return Reply(_HISTORY.encode())
        wanted = {one["Field"]: one["Value"] for one in json.loads(request.body)["Filters"]}
        offer = OFFER.replace('{"USD": "98.3200000001"}', json.dumps({currency: hourly}))
        offers = [offer] if wanted["instanceType"] == "p5.48xlarge" else []
        return Reply(json.dumps({"PriceList": offers}).encode())

    def reply_in_another_currency(self, request: Request) -> Reply:
        return self.reply(request, "98.32", "EUR")

    def reply_with_more(self, request: Request, number: int) -> Reply:
        del request
        return Reply(json.dumps({"PriceList": [], "NextToken": str(number)}).encode())

    def refusal(self, request: Request, message: str) -> Reply:
        if _for_offers(request):
            return Reply(json.dumps({"__type": "AccessDeniedException", "message": message}).encode(), 400)
        return super().refusal(request, message)


def _for_offers(request: Request) -> bool:
    return request.headers.get("X-Amz-Target") == "AWSPriceListService.GetProducts"


class OpenCostConformance(PriceSourceConformance):
    name = "OpenCost"
    machine = Resources(gpu=1, cpu="4", memory="16Gi")
    states_currency = False
    paged = False

    def source(self, service: Service) -> PriceSource:
        del service
        return OpenCostPrices()

    def prices(self, service: Service) -> PriceList:
        classes = {KNOWN: {"nodeSelector": {"class": "a"}}, UNKNOWN: {"nodeSelector": {"class": "b"}}}
        return listed("OpenCost", {"openCost": {"url": service.url, "window": "24h"}}, classes)

    def reply(self, request: Request, hourly: str) -> Reply:
        if request.path != "/assets":
            return Reply(b"", 404)
        node = {
            "type": "Node",
            "labels": {"label_class": "a"},
            "gpuCost": _share(hourly, "0.5"),
            "cpuCost": _share(hourly, "0.3"),
            "ramCost": _share(hourly, "0.2"),
            "GPUHours": 24,
            "cpuCoreHours": 24 * 4,
            "ramByteHours": 24 * 16 * 2**30,
        }
        return Reply(json.dumps({"code": 200, "data": {"node-1": node}}).encode())

    def refusal(self, request: Request, message: str) -> Reply:
        del request
        return Reply(json.dumps({"code": 403, "message": message}).encode())


def _share(hourly: str, part: str) -> str:
    """Return a part of the cost of 24 hours; a text that is no number takes its place."""
    try:
        return str(Decimal(hourly) * 24 * Decimal(part))
    except InvalidOperation:
        return hourly
