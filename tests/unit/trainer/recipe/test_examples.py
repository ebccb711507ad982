"""The studies to start from: they are admitted, and the trainer knows every value they search."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from comptroller.admission import admit
from comptroller.cli import app
from comptroller_api.study import Study
from comptroller_trainer.recipe.parse import parse

EXAMPLES = sorted((Path(__file__).parents[4] / "examples").glob("*.yaml"))
PRICES = next(path for path in EXAMPLES if path.stem == "prices")


def corners(study: Study) -> Iterator[dict[str, str]]:
    """The baseline, with one parameter after another at each of its values or at its ends."""
    for parameter in study.spec.space.parameters:
        values: Sequence[str | None] = parameter.values or [parameter.min, parameter.max]
        for value in values:
            yield {**study.spec.baseline, parameter.name: str(value)}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_admitted_and_understood(path: Path) -> None:
    studies = 0
    for manifest in yaml.safe_load_all(path.read_text()):
        verdict = admit(manifest)
        assert verdict.refusals == ()
        if isinstance(verdict.object, Study):
            studies += 1
            for parameters in corners(verdict.object):
                assert parse(parameters)
    assert studies == (path.stem != "prices")


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path != PRICES], ids=lambda path: path.stem)
def test_an_example_passes_lint_and_nothing_holds_it(path: Path) -> None:
    own_prices = "PriceList" in path.read_text()
    prices = [] if own_prices else ["--prices", str(PRICES)]
    for command in (["lint", str(path)], ["plan", str(path), *prices]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
