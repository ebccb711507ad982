"""Every registered selector keeps the promises of selectors."""

from importlib.metadata import entry_points
from typing import Any

import pytest

from comptroller_trainer.testing.selectors import SelectorConformance

POINTS = {point.name: point for point in entry_points(group="comptroller.selectors")}
CHANGES: dict[str, dict[str, Any]] = {
    "dedup": {"exact": False},
    "denoise": {"exact": False},
    "curriculum": {"exact": False},
    "balanced": {"repeats": True},
    "all": {"seeded": False},
}
UNLIKE_HALF = {"all", "rho_loss"}
"""`keep` of a half is refused, or not what this is tried with."""


def suite(name: str) -> type[SelectorConformance]:
    kind = POINTS[name].load()
    small = {} if name in UNLIKE_HALF else {"keep": 0.5}
    if "proxy_epochs" in kind.Parameters.model_fields:
        small["proxy_epochs"] = 1
    attributes = {"selector": kind, "parameters": kind.Parameters(**small)}
    return type(f"Test_{name}", (SelectorConformance,), attributes | CHANGES.get(name, {}))


globals().update({f"Test_{name}": suite(name) for name in POINTS})


@pytest.mark.parametrize("name", POINTS)
def test_a_selector_knows_its_name(name: str) -> None:
    assert POINTS[name].load().name == name
