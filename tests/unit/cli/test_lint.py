"""`comptroller lint` on files, as a user or a pipeline calls it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from comptroller.admission import manifests as manifest_files
from comptroller.cli.lint import lint
from comptroller.cli.plan import plan
from comptroller_api.trainer import reference
from support import manifests

app, plans = typer.Typer(), typer.Typer()
app.command()(lint)
plans.command()(plan)
runner = CliRunner()


def documents(*contents: dict[str, Any]) -> str:
    """Write JSON, since PyYAML would write "1e-4" without quotes, which `kubectl` reads as a number."""
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


def test_a_bad_manifest_is_reported_with_its_file_and_the_servers_sentence(bad: Path) -> None:
    result = runner.invoke(app, [str(bad)])
    assert result.exit_code == 1
    assert result.stdout == (
        f"{bad}:1: Secret: skipped, since v1 is another API\n"
        f'{bad}:3: Study digits: spec.search.parallel: Invalid value: "object":'
        " parallel must not be more than trials\n1 checked, 1 refused, 1 skipped\n"
    )


def test_machines_read_json(bad: Path) -> None:
    result = runner.invoke(app, [str(bad), "-o", "json"])
    skipped, finding = json.loads(result.stdout)
    assert (result.exit_code, finding["name"], len(finding["errors"])) == (1, "digits", 1)
    assert (skipped["kind"], skipped["errors"], skipped["skipped"]) == (
        "Secret",
        [],
        "skipped, since v1 is another API",
    )


def test_a_directory_stands_for_its_manifests(good: Path, bad: Path) -> None:
    assert good.parent == bad.parent
    assert "3 checked, 1 refused" in runner.invoke(app, [str(good.parent)]).stdout


def test_standard_input_is_read(good: Path) -> None:
    assert runner.invoke(app, ["-"], input=good.read_text()).exit_code == 0


@pytest.mark.parametrize(
    "version",
    ["comptroler.dev/v1alpha1", "Comptroller.dev/v1alpha1", "comptroller/v1alpha1", "v1alpha1", "v1"],
)
def test_a_misspelt_group_is_refused_with_the_one_that_is_meant(tmp_path: Path, version: str) -> None:
    path = tmp_path / "misspelt.yaml"
    path.write_text(documents(manifests.change(manifests.valid("Study"), {"apiVersion": version})))
    result = runner.invoke(app, [str(path)])
    assert result.exit_code == 1
    assert f'apiVersion: Unsupported value: "{version}"' in result.stdout
    assert '(did you mean "comptroller.dev/v1alpha1"?)' in result.stdout


@pytest.mark.parametrize(
    "other", [("v1", "ConfigMap"), ("kubeflow.org/v1beta1", "Trial"), ("compute.example.dev/v1", "Budget")]
)
def test_an_object_of_another_api_next_to_ours_is_named_and_no_error(
    good: Path, tmp_path: Path, other: tuple[str, str]
) -> None:
    version, kind = other
    path = tmp_path / "other.yaml"
    path.write_text(documents({"apiVersion": version, "kind": kind, "metadata": {"name": "b"}}))
    result = runner.invoke(app, [str(path), str(good)])
    assert (result.exit_code, result.stdout) == (
        0,
        f"{path}:1: {kind} b: skipped, since {version} is another API\n2 checked, 0 refused, 1 skipped\n",
    )
    alone = runner.invoke(app, [str(path)])
    assert alone.exit_code == 1
    assert f"nothing was checked: {path} has no object of comptroller.dev/v1alpha1" in alone.stderr


@pytest.mark.parametrize("text", ["", "---\n---\n", "# nothing\n"])
@pytest.mark.parametrize("form", ["table", "json"])
def test_a_run_that_checks_nothing_fails(tmp_path: Path, text: str, form: str) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text(text)
    for where in (path, tmp_path):
        result = runner.invoke(app, [str(where), "-o", form])
        assert result.exit_code == 1
        assert f"error: nothing was checked: {where} has no object of" in result.stderr
    assert "nothing was checked: - has" in runner.invoke(app, ["-"], input=text).stderr


@pytest.mark.parametrize("text", ["[" * 5000, "{a: " * 5000, "- " * 5000, '{"a":' * 5000])
def test_what_is_too_deep_is_refused_with_its_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.yaml"
    path.write_text(text)
    result = runner.invoke(app, [str(path)])
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{path}: maps and lists are more than 100 deep in each other")
    assert "Traceback" not in result.output


def test_a_file_that_is_too_large_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"[" + b" " * manifest_files.MAX_BYTES)
    result = runner.invoke(app, [str(path)])
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{path}: it has more than 8 MiB, and no manifest has")


def test_input_that_is_not_text_is_refused() -> None:
    result = runner.invoke(app, ["-"], input=b"\xff\xfe")
    assert result.exit_code == 1
    assert "-: 'utf-8' codec can't decode" in result.stdout


def test_text_that_is_not_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("a: [")
    assert runner.invoke(app, [str(path)]).exit_code == 1


def test_what_a_manifest_says_does_not_steer_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "budget.yaml"
    fields = {"spec.timeZone": "\x1b[31mUTC\u202e\x07"}
    path.write_text(documents(manifests.change(manifests.valid("Budget"), fields)))
    result = runner.invoke(app, [str(path)], color=True)
    assert result.exit_code == 1
    assert "'UTC ' must be an IANA time zone" in result.stdout
    assert result.stdout.replace("\n", "").isprintable()


def test_a_file_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert runner.invoke(app, [str(tmp_path / "none.yaml")]).exit_code == 2


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """Return a study with a selector that is not ours."""
    path = tmp_path / "mine.yaml"
    fields = {"spec.baseline['data.selector']": "brightest"}
    path.write_text(documents(manifests.change(manifests.valid("Study"), fields)))
    return path


def test_what_the_trainer_would_refuse_is_refused(mine: Path) -> None:
    result = runner.invoke(app, [str(mine)])
    assert result.exit_code == 1
    assert 'spec.baseline[data.selector]: Unsupported value: "brightest": supported values:' in result.stdout


def test_another_image_may_be_another_trainer(mine: Path) -> None:
    study = json.loads(mine.read_text())
    mine.write_text(documents(manifests.change(study, {"spec.runtime.image": "example.com/mine:1"})))
    result = runner.invoke(app, [str(mine)])
    assert result.exit_code == 0
    assert "Study digits: note: spec.baseline[data.selector]" in result.stdout
    [finding] = json.loads(runner.invoke(app, [str(mine), "-o", "json"]).stdout)
    assert (finding["errors"], len(finding["notes"])) == ([], 1)


@pytest.mark.parametrize(("bound", "code"), [("1", 0), ("0.1", 1)])
def test_a_trainer_that_describes_itself_is_believed(mine: Path, bound: str, code: int) -> None:
    given = reference().model_dump(exclude_defaults=True)
    given["data"]["brightest"] = {"parameters": {"jitter": {"type": "number", "le": float(bound)}}}
    (description := mine.with_name("trainer.json")).write_text(json.dumps(given))
    fields = {"spec.runtime.image": "example.com/mine:1", "spec.baseline['data.jitter']": "0.5"}
    mine.write_text(documents(manifests.change(json.loads(mine.read_text()), fields)))
    result = runner.invoke(app, [str(mine), "--trainer", str(description)])
    assert (result.exit_code, "note:" in result.stdout) == (code, False)


def test_parameters_may_be_left_unread(mine: Path) -> None:
    result = runner.invoke(app, [str(mine), "--trainer", "none"])
    assert (result.exit_code, result.stdout) == (0, "1 checked, 0 refused\n")


@pytest.mark.parametrize(("ceiling", "code"), [("0.000001", 1), ("5.00", 0)])
def test_a_ceiling_below_one_lease_is_refused_as_plan_refuses_it(
    tmp_path: Path, ceiling: str, code: int
) -> None:
    path = tmp_path / "small.yaml"
    study = manifests.change(manifests.valid("Study"), {"spec.ceilings.spend.amount": ceiling})
    day = {"spec.asOf": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
    path.write_text(documents(study, manifests.change(manifests.valid("PriceList"), day)))
    linted = runner.invoke(app, [str(path)])
    planned = runner.invoke(plans, [str(path), "-o", "json"])
    assert (linted.exit_code, planned.exit_code) == (code, code)
    [found] = json.loads(planned.stdout)
    if code:
        assert "the study's ceiling has 0.000001" in found["refusal"]
        assert f"Study digits: spec.ceilings.spend.amount: {found['refusal']}: raise it" in linted.stdout


def test_a_ceiling_without_a_price_list_is_not_counted(tmp_path: Path) -> None:
    path = tmp_path / "alone.yaml"
    fields = {"spec.ceilings.spend.amount": "0.000001"}
    path.write_text(documents(manifests.change(manifests.valid("Study"), fields)))
    assert runner.invoke(app, [str(path)]).exit_code == 0


WITHOUT_CHOICES = json.dumps(reference().model_dump(exclude_defaults=True) | {"choices": {}})


@pytest.mark.parametrize("text", [None, "{}", "no JSON", WITHOUT_CHOICES])
def test_an_invalid_description_is_a_usage_error(mine: Path, text: str | None) -> None:
    description = mine.with_name("trainer.json")
    if text is not None:
        description.write_text(text)
    assert runner.invoke(app, [str(mine), "--trainer", str(description)]).exit_code == 2
