"""The reference table has every parameter."""

from comptroller_trainer.learning.training import Training
from comptroller_trainer.recipe import reference


def test_every_parameter_is_in_the_table() -> None:
    found = {row.name for row in reference.rows()}
    for name in Training.model_fields:
        assert f"recipe.{name}" in found
    assert {
        "model.family",
        "model.width",
        "data.selector",
        "data.keep",
        "augment.policy",
        "compress.method",
    } <= found
    assert all(row.meaning and row.values for row in reference.rows())
    assert "| `recipe.lr` |" in reference.page()
