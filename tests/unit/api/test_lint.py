"""`comptroller lint` on files, as a person or a pipeline calls it."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import manifests
from comptroller.cli.lint import lint

app = typer.Typer()
app.command()(lint)
runner = CliRunner()


def documents(*contents: dict[str, Any]) -> str:
    """As JSON, since PyYAML would write "1e-4" without quotes, which `kubectl` reads as a number."""
    return "\n---\n".join(json.dumps(content) for content in contents)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(documents(manifests.valid("Study"), manifests.valid("Budget")))
    return path


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.yaml"
    study = manifests.change(manifests.valid("Study"), {"spec.search.parallel": 21})
    path.write_text(documents({"apiVersion": "v1", "kind": "Secret"}, study))
    return path


def test_good_manifests_pass(good: Path) -> None:
    result = runner.invoke(app, [str(good)])
    assert (result.exit_code, result.stdout) == (0, "2 checked, 0 refused\n")


def test_a_bad_one_is_told_with_its_place_and_the_servers_sentence(bad: Path) -> None:
    result = runner.invoke(app, [str(bad)])
    assert result.exit_code == 1
    assert result.stdout == (
        f'{bad}:3: Study digits: spec.search.parallel: Invalid value: "object":'
        " parallel must not be more than trials\n1 checked, 1 refused\n"
    )


def test_machines_read_json(bad: Path) -> None:
    result = runner.invoke(app, [str(bad), "-o", "json"])
    [finding] = json.loads(result.stdout)
    assert (result.exit_code, finding["name"], len(finding["errors"])) == (1, "digits", 1)


def test_a_directory_stands_for_its_manifests(good: Path, bad: Path) -> None:
    assert good.parent == bad.parent
    assert "3 checked, 1 refused" in runner.invoke(app, [str(good.parent)]).stdout


def test_standard_input_is_read(good: Path) -> None:
    assert runner.invoke(app, ["-"], input=good.read_text()).exit_code == 0


def test_text_that_is_not_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("a: [")
    assert runner.invoke(app, [str(path)]).exit_code == 1


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert runner.invoke(app, [str(tmp_path / "none.yaml")]).exit_code == 2
