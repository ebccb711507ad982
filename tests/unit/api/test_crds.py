"""The CRDs match the models, and people and other tools can use them."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import Field

from comptroller_api.crd import KINDS, Kind, definition, schema
from comptroller_api.meta import RULES, Model
from comptroller_api.schema import Schema, structural
from comptroller_api.trial import RungResult

ROOT = Path(__file__).parents[3]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


def test_the_files_are_what_the_models_say() -> None:
    run = subprocess.run(
        [sys.executable, "crds/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "")


@kinds
def test_every_field_is_explained(kind: Kind) -> None:
    for path, node in nodes(schema(kind)):
        if not path.endswith("[]") and path != ".metadata":
            assert node["description"].strip(), path


@kinds
def test_everything_is_bounded_so_that_rules_have_a_cost(kind: Kind) -> None:
    for path, node in nodes(schema(kind)):
        if node["type"] == "string":
            assert "maxLength" in node or "enum" in node or "format" in node, path
        if node["type"] == "array":
            assert "maxItems" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


@kinds
def test_no_float_no_pattern_no_null(kind: Kind) -> None:
    for path, node in nodes(schema(kind)):
        assert node["type"] != "number", path
        assert not {"pattern", "nullable", "$ref", "anyOf", "title"} & node.keys(), path


@kinds
def test_a_rule_is_a_sentence_without_a_regular_expression(kind: Kind) -> None:
    for path, node in nodes(schema(kind)):
        for rule in node.get(RULES, []):
            assert not re.search(r"[\^$\\\\\[]", rule["message"]), path
            assert "\n" not in rule["message"], path


@kinds
def test_columns_do_not_count_on_the_order_of_conditions(kind: Kind) -> None:
    [version] = definition(kind)["spec"]["versions"]
    for column in version["additionalPrinterColumns"]:
        assert not re.search(r"\[\d", column["jsonPath"])


def test_names_are_short_and_do_not_meet() -> None:
    names = [n for kind in KINDS for n in (kind.short, kind.plural, kind.name.lower())]
    assert len(names) == len(set(names))


def test_a_pattern_without_a_sentence_is_an_error() -> None:
    class Bare(Model):
        field: str = Field(max_length=3, pattern="^a", description="A field.")

    with pytest.raises(ValueError, match=r"Bare.field: a pattern needs a rule"):
        structural(Bare, {})


def test_a_string_without_a_bound_is_an_error() -> None:
    class Endless(Model):
        field: str = Field(description="A field.")

    with pytest.raises(ValueError, match=r"Endless.field needs maxLength"):
        structural(Endless, {})


def test_a_field_without_a_description_is_an_error() -> None:
    class Silent(Model):
        field: int

    with pytest.raises(ValueError, match=r"Silent.field needs description"):
        structural(Silent, {})


@pytest.mark.parametrize("value", [0.1, 1e-300, 3.0, 12345678.9, -2.5e21])
def test_a_measurement_is_text_outside_and_the_same_number_inside(value: float) -> None:
    written = RungResult(rung=0, epochs=1, metrics={"loss": value}).to_json()
    assert isinstance(written["metrics"]["loss"], str)
    assert RungResult.model_validate(written).metrics["loss"] == value
