"""The page that tells how to add a stage is right: its very text is installed, tested and trained.

`tests/unit/feeds/test_extend_feeds.py` does the same for the page's last section, which adds a price feed.
"""

import importlib
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from comptroller_api.contract import Report
from comptroller_trainer.errors import AssignmentError
from comptroller_trainer.recipe import reference
from comptroller_trainer.stages import registry

PAGE = Path(__file__).parents[4] / "docs/how-to/extend.md"
MINE = {"data.selector": "brightest", "model.family": "maxout", "augment.policy": "blackout"}
ORT = {"recipe.exports": "ort"}
LONGEST = 36
"""Lines of an example, imports and empty ones included."""


def blocks(language: str) -> list[str]:
    """The code in `language` of the page's part about stages."""
    stages = PAGE.read_text(encoding="utf-8").partition("\n## Add a price feed\n")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", stages, re.DOTALL | re.MULTILINE)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's distribution, as an installer would lay it out."""
    site = tmp_path / "site"
    metadata = site / "house_methods-1.0.dist-info"
    metadata.mkdir(parents=True)
    *stages, suite = blocks("python")
    (site / "house_methods.py").write_text("\n\n".join(stages), encoding="utf-8")
    (site / "test_house_methods.py").write_text(suite, encoding="utf-8")
    (project,) = blocks("toml")
    described = tomllib.loads(project)["project"]
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: 1.0\n")
    groups = [
        "\n".join([f"[{group}]", *(f"{name} = {place}" for name, place in points.items())])
        for group, points in described["entry-points"].items()
    ]
    (metadata / "entry_points.txt").write_text("\n".join(groups) + "\n")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    registry.known.cache_clear()
    yield
    registry.known.cache_clear()
    for module in ("house_methods", "test_house_methods"):
        sys.modules.pop(module, None)


@pytest.mark.usefixtures("installed")
def test_the_suites_pass_for_the_pages_stages(tmp_path: Path) -> None:
    suites = vars(importlib.import_module("test_house_methods"))
    ran = 0
    for suite in [value for name, value in suites.items() if name.startswith("Test")]:
        for name in [name for name in dir(suite) if name.startswith("test_")]:
            test = getattr(suite(), name)
            test(**{"tmp_path": tmp_path} if "tmp_path" in test.__code__.co_varnames else {})
            ran += 1
    assert ran > 20


@pytest.mark.usefixtures("installed")
def test_a_trial_finds_the_pages_stages_by_name(attempt: Callable[..., Report]) -> None:
    report = attempt(MINE | ORT | {"data.keep": "0.5", "model.width": "16", "augment.schedule": "ramp"})
    assert report.metrics["accuracy"] > 0.25
    assert "model.ort" in {artifact.name for artifact in report.artifacts}
    rows = {row.name for row in reference.rows() if row.where in MINE.values()}
    assert {"data.jitter", "model.pieces", "augment.probability"} <= rows


@pytest.mark.usefixtures("installed")
def test_a_parameter_out_of_the_pages_bounds_is_refused(attempt: Callable[..., Report]) -> None:
    with pytest.raises(
        AssignmentError, match=r"augment.probability: '1.5' input should be less than or equal"
    ):
        attempt(MINE | {"augment.probability": "1.5"})


def test_the_examples_are_short() -> None:
    for example in blocks("python"):
        assert len([line for line in example.splitlines() if line.strip()]) <= LONGEST
