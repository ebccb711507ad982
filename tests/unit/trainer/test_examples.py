"""The studies to start from: they are admitted, and the trainer knows every value they search."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from comptroller.admission import admit
from comptroller_api.study import Study
from comptroller_trainer import recipe

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.yaml"))


def corners(study: Study) -> Iterator[dict[str, str]]:
    """The baseline, with one parameter after another at each of its values or at its ends."""
    for parameter in study.spec.space.parameters:
        for value in parameter.values or [parameter.min, parameter.max]:
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
                assert recipe.parse(parameters)
    assert studies == (path.stem != "prices")
