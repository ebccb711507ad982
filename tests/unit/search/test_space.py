"""Configurations: written, drawn, compared."""

import math

import numpy as np
import pytest
from pydantic import TypeAdapter

from comptroller.search import Problem
from comptroller.search.space import Space, draw, write
from comptroller_api.quantity import Number
from comptroller_api.space import Parameter, When


def ranged(kind: str, least: str, most: str, scale: str = "Linear") -> Parameter:
    return Parameter.model_validate(
        {"name": "recipe.x", "type": kind, "min": least, "max": most, "scale": scale}
    )


def space(*parameters: Parameter, **baseline: str) -> Space:
    return Space(Problem(parameters, {f"recipe.{k}": v for k, v in baseline.items()}, ()))


OPTIMIZER = Parameter(name="recipe.optimizer", type="Categorical", values=["sgd", "adam"])
MOMENTUM = Parameter(
    name="recipe.momentum", type="Float", min="0", max="0.9",
    when=When(parameter="recipe.optimizer", values=["sgd"]),
)  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1 + 0.2, "0.3"),
        (1e-4, "0.0001"),
        (1.23456789e-5, "1.23457e-05"),
        (1234567.0, "1.23457e06"),
        (-0.0, "0"),
    ],
)
def test_a_float_is_written_short_and_as_the_api_writes_numbers(value: float, text: str) -> None:
    assert write(ranged("Float", "-1", "1e9"), value) == text
    assert TypeAdapter(Number).validate_python(text) == text


def test_rounding_does_not_leave_the_range() -> None:
    narrow = ranged("Float", "0.12345678", "0.12345699")
    assert write(narrow, 0.1234569) == "0.12345699"
    assert write(ranged("Float", "0.12345612", "1"), 0.12345612) == "0.12345612"
    assert write(ranged("Integer", "2", "8"), 8.5) == "8"


def test_every_whole_number_is_as_likely_as_the_others() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount([int(draw(ranged("Integer", "0", "3"), rng)) for _ in range(4000)])
    assert counts.min() > 900


def test_a_log_scale_draws_each_decade_as_often() -> None:
    rng = np.random.default_rng(0)
    drawn = [math.log10(float(draw(ranged("Float", "0.0001", "1", "Log"), rng))) for _ in range(4000)]
    assert np.histogram(drawn, bins=[-4, -3, -2, -1, 0])[0].min() > 900


def test_what_the_baseline_leaves_open_is_the_centre_or_the_first_choice() -> None:
    lr = Parameter(name="recipe.lr", type="Float", min="0.001", max="0.1", scale="Log")
    depth = Parameter(name="recipe.depth", type="Integer", min="2", max="8")
    assert space(OPTIMIZER, MOMENTUM, lr, depth, batch="64").baseline() == {
        "recipe.batch": "64",
        "recipe.depth": "5",
        "recipe.lr": "0.01",
        "recipe.momentum": "0.45",
        "recipe.optimizer": "sgd",
    }


def test_the_baseline_keeps_its_own_values_and_drops_what_its_choices_exclude() -> None:
    found = space(MOMENTUM, OPTIMIZER, optimizer="adam", momentum="0.9").baseline()
    assert found == {"recipe.optimizer": "adam"}
    assert space(ranged("Float", "0", "1"), x="7.50").baseline() == {"recipe.x": "7.50"}


def test_a_condition_may_come_before_its_parameter() -> None:
    rng = np.random.default_rng(0)
    drawn = [space(MOMENTUM, OPTIMIZER).draw(rng) for _ in range(50)]
    assert {len(values) for values in drawn} == {1, 2}
    assert all(("recipe.momentum" in v) == (v["recipe.optimizer"] == "sgd") for v in drawn)


def test_parameters_that_wait_for_each_other_do_not_exist() -> None:
    a = Parameter(
        name="recipe.a", type="Categorical", values=["x"], when=When(parameter="recipe.b", values=["x"])
    )
    b = Parameter(
        name="recipe.b", type="Categorical", values=["x"], when=When(parameter="recipe.a", values=["x"])
    )
    assert space(a, b, OPTIMIZER).baseline() == {"recipe.optimizer": "sgd"}


def test_configurations_that_mean_the_same_have_the_same_key() -> None:
    rate = space(ranged("Float", "0", "1"))
    assert rate.key({"recipe.x": "0.10"}) == rate.key({"recipe.x": "1e-1"}) != rate.key({"recipe.x": "0.2"})
    assert space(OPTIMIZER).key({"recipe.optimizer": "sgd", "recipe.other": "1"}) == space(OPTIMIZER).key(
        {"recipe.optimizer": "sgd"}
    )


def test_the_last_untried_configuration_of_many_is_found() -> None:
    grid = space(
        Parameter(name="recipe.a", type="Integer", min="0", max="99"),
        Parameter(name="recipe.b", type="Integer", min="0", max="99"),
    )
    all_but_one = {
        grid.key({"recipe.a": str(a), "recipe.b": str(b)}) for a in range(100) for b in range(100)
    } - {grid.key({"recipe.a": "61", "recipe.b": "17"})}
    rng = np.random.default_rng(3)
    assert grid.unseen(rng, all_but_one) == {"recipe.a": "61", "recipe.b": "17"}
    assert grid.unseen(rng, all_but_one | {grid.key({"recipe.a": "61", "recipe.b": "17"})}) is None


def test_a_range_too_long_to_list_is_walked_from_where_it_starts() -> None:
    endless = space(ranged("Integer", "0", "1000000000000"))

    class AllDrawn:
        """A set that contains the first hundred keys in queries, like a crowded space."""

        queries = 0

        def __contains__(self, key: object) -> bool:
            self.queries += 1
            return self.queries <= 100

    assert endless.unseen(np.random.default_rng(0), AllDrawn()) is not None
