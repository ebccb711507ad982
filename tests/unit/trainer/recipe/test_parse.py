"""A wrong parameter is refused with a sentence that names it."""

import pytest

from comptroller_trainer.errors import (
    AssignmentError,
)
from comptroller_trainer.recipe.parse import parse


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("model.family", "perceiver", "known: "),
        ("data.selector", "best", "known: "),
        ("augment.policy", "blur_all", "known: "),
        ("compress.method", "zip", "known: "),
        ("model.colour", "red", "is not a parameter with model.family 'cnn'; known: model.depth"),
        ("augment.padding", "2", "is not a parameter with augment.policy 'none'; known: none"),
        ("recipe.colour", "red", "is not a parameter; known: recipe."),
        ("recipe.lr", "0", "greater than 0"),
        ("recipe.lr", "nan", "finite"),
        ("recipe.lr", "fast", "valid number"),
        ("recipe.batch_size", "1", "greater than or equal to 2"),
        ("recipe.batch_size", "32.5", "valid integer"),
        ("recipe.optimizer", "lion", "input should be 'sgd'"),
        ("data.keep", "0.5", "contradicts data.selector all"),
        ("model.dropout", "1", "less than 1"),
    ],
)
def test_a_wrong_parameter_is_named(name: str, value: str, expected: str) -> None:
    with pytest.raises(AssignmentError) as caught:
        parse({name: value})
    assert str(caught.value).startswith(f"{name}: {value!r}")
    assert expected in str(caught.value)


def test_a_fraction_out_of_range_is_named() -> None:
    for value in ("0", "1.5", "-1"):
        with pytest.raises(AssignmentError, match=r"data\.keep"):
            parse({"data.selector": "random", "data.keep": value})
