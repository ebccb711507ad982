"""The model card: what it says is what the trial knows, and nobody's text can break it."""

import json
import re
from collections.abc import Callable

import numpy as np
import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from comptroller_api.contract import Report
from comptroller_api.metrics import METRICS
from comptroller_trainer.report import card
from support.trials import path

Attempt = Callable[..., Report]
NASTY = "a | b\n| c |\n# d `e` <script>f</script> [g](h) \\| *i*"


def rows(markdown: str) -> list[list[str]]:
    """The cells of all tables, as a reader sees them."""
    found: list[list[str]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(markdown):
        if token.type == "tr_open":
            found.append([])
        elif token.type == "inline" and token.level >= 4:
            found[-1].append(seen(token))
    return found


def seen(token: Token) -> str:
    """Return the text of a token, all of which has to be plain."""
    assert {child.type for child in token.children or ()} <= {"text", "text_special"}
    return "".join(child.content for child in token.children or ())


@pytest.fixture
def report(attempt: Attempt) -> Report:
    return attempt({"compress.method": "int8_static", "compress.must": "anything", "data.keep": "0.5",
                    "data.selector": "random"})  # fmt: skip


def test_the_card_says_what_the_trial_knows(report: Report) -> None:
    text = path(report, "card.md").read_text(encoding="utf-8")
    facts = dict(row for row in rows(text) if len(row) == 2)
    measured = {row[0]: row[1:] for row in rows(text) if len(row) == 3}
    assert {
        "namespace": "team",
        "study": "study",
        "trial": "3",
        "seed": "11",
        "epochs": "2 of 2",
    }.items() <= facts.items()
    assert facts["architecture"].startswith("cnn, width: 4, depth: 2")
    assert facts["selection"] == "random, keep: 0.5"
    assert facts["compression"] == "int8_static, must: anything"
    assert "batch_size: 32" in facts["recipe"]
    assert facts["split train"].startswith("384 samples")
    assert facts["torch"] == report.environment["torch"]
    for name, value in report.metrics.items():
        if name != "energy_joules":
            shown, unit = measured[name]
            assert float(shown) == pytest.approx(value, rel=1e-4)
            assert unit == METRICS[name].unit_for("Classification")
    stages = {row[0]: row[1] for row in rows(text) if len(row) == 3}
    assert float(stages["fit"]) == pytest.approx(
        next(s.seconds for s in report.stages if s.name == "fit"), rel=1e-4
    )
    files = {row[0]: row[2] for row in rows(text) if len(row) == 3}
    for artifact in report.artifacts:
        assert artifact.name == "card.md" or files[artifact.uri] == artifact.sha256


def test_its_code_loads_the_shipped_model(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", path(report, "card.md").read_text(), re.DOTALL)
    monkeypatch.chdir(path(report, "model.onnx").parent)
    known: dict[str, np.ndarray] = {}
    exec(code, known)
    assert known["outputs"].shape == (1, 4)
    assert np.isfinite(known["outputs"]).all()


def test_what_a_table_of_numbers_takes_and_gives(attempt: Attempt) -> None:
    data = {"uri": "generated:diabetes", "format": "Bundled", "task": "Regression", "validation": "0.2"}
    found = attempt({"model.family": "mlp", "recipe.lr": "0.01"}, data=data, epochs=1)
    text = path(found, "card.md").read_text(encoding="utf-8")
    preprocessed = json.loads(path(found, "data.json").read_text())["preprocessing"]
    after = ", after the preprocessing in data.json" if preprocessed else ""
    assert f"float32 (n, 10), the data's own values{after}; the model standardises" in text
    assert "Outputs: the number." in text
    assert dict(row for row in rows(text) if len(row) == 2)["task"] == "Regression"


@pytest.mark.usefixtures("unserved")
def test_the_share_of_zeros_stands_under_size(attempt: Attempt) -> None:
    found = attempt({"compress.method": "sparse", "compress.must": "anything"}, epochs=1)
    _, _, after = path(found, "card.md").read_text(encoding="utf-8").partition("## Size")
    assert "zero_share" in {row[0] for row in rows(after.partition("##")[0])}


def test_text_from_outside_stays_in_its_cell() -> None:
    table = f"| a | b |\n| --- | --- |\n| {card.text(NASTY)} | end |"
    assert rows(table)[1:] == [[" ".join(NASTY.split()), "end"]]
