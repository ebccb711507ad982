"""A price list of one node class with a GPU, its feed, and quotes from it."""

from typing import Any

from comptroller.pricing import Fed, PriceBook, Quote, Unfed, Unpriced
from comptroller.pricing.fed import Fresh
from comptroller.pricing.rates import HourlyRates
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


FED: dict[str, Any] = {"source": "AWS", "asOf": None, "aws": {"region": "us-east-1"}, "maxAge": "1h"}


def fed(gpu: int = 3_000_000, age: int = 60, spot: Fresh | None = None) -> dict[tuple[str, str], Fed | Unfed]:
    fresh = Fresh(HourlyRates(gpu, 30_000, 3_000), NOW - 5_000)
    return {("list", "h100"): Fed(NOW - age, fresh, spot)}
