"""The section of the page that tells how to add a price feed is right: its very text passes the suite."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from comptroller.feeds.testing import PriceSourceConformance, Service
from comptroller_api import pricelist
from comptroller_api.meta import Model

PAGE = Path(__file__).parents[3] / "docs/how-to/extend.md"
LONGEST = 36
"""Lines of an example, imports included."""


class House(Model):
    url: str


class HouseSpec(pricelist.PriceListSpec):
    source: Literal["Static", "AWS", "OpenCost", "House"] = "Static"  # type: ignore[assignment]
    house: House | None = None


class HouseList(pricelist.PriceList):
    spec: HouseSpec


def examples() -> list[str]:
    section = PAGE.read_text(encoding="utf-8").partition("\n## Add a price feed\n")[2]
    return re.findall(r"^```python\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[PriceSourceConformance]]:
    """Return the page's suite, for an API that has the page's terms."""
    source, tests = examples()
    (tmp_path / "house_prices.py").write_text(source, encoding="utf-8")
    (tmp_path / "house_prices_suite.py").write_text(tests, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(pricelist.FEEDS, "House", "house")
    monkeypatch.setattr(pricelist, "PriceList", HouseList)
    importlib.invalidate_caches()
    found: Any = importlib.import_module("house_prices_suite")
    yield found.TestHousePrices
    for module in ("house_prices", "house_prices_suite"):
        sys.modules.pop(module, None)


@pytest.mark.parametrize(
    "test", sorted(name for name in vars(PriceSourceConformance) if name.startswith("test_"))
)
def test_the_pages_feed_passes(suite: type[PriceSourceConformance], test: str) -> None:
    with Service() as service:
        getattr(suite(), test)(service)


def test_the_examples_are_short() -> None:
    for example in examples():
        assert len([line for line in example.splitlines() if line.strip()]) <= LONGEST
