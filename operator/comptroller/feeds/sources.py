"""The sources of prices, by their names in `PriceList` (`spec.source`)."""

from collections.abc import Mapping
from types import MappingProxyType

from comptroller.feeds.aws import AwsPrices
from comptroller.feeds.base import PriceSource
from comptroller.feeds.opencost import OpenCostPrices

SOURCES: Mapping[str, PriceSource] = MappingProxyType(
    {
        "AWS": AwsPrices(),
        "OpenCost": OpenCostPrices(),
    }
)
