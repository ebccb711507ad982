"""Write the CRDs to `crds/*.yaml`, a copy of each as a template of the chart, and the list of metrics.

`--check` writes nothing and fails if a file differs from the models.
"""

import argparse
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import yaml

from comptroller_api.crd import KINDS, definition
from comptroller_api.meta import GROUP
from comptroller_api.metrics import MEASURERS, PARENT, TABLE, Corruption, Measurer, Metric

HERE = Path(__file__).resolve().parent
METRICS = HERE.parent / "docs" / "reference" / "metrics.md"
CHART = HERE.parent / "charts" / "comptroller" / "templates" / "crds"
HEADER = "# Generated from crds/comptroller_api by `make generate`. Do not edit.\n"


class _Dumper(yaml.SafeDumper):
    """A dumper that writes shared nodes in full."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def manifest(document: object) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)


def template(text: str) -> str:
    """Return a manifest as a template of the chart, with labels and the toggle that keeps it at uninstall."""
    if "{{" in text:
        raise ValueError("a manifest that contains {{ cannot become a template")
    name, rest = text.split("\nspec:\n", 1)
    return (
        "{{- if .Values.crds.install }}\n"
        f"{name}\n"
        "  labels:\n"
        '    {{- include "comptroller.labels" . | nindent 4 }}\n'
        "  {{- if .Values.crds.keep }}\n"
        "  annotations:\n"
        "    helm.sh/resource-policy: keep\n"
        "  {{- end }}\n"
        f"spec:\n{rest}"
        "{{- end }}\n"
    )


def metrics() -> str:
    """Return the page that lists the metrics, in Markdown."""
    parents = [f"`{PARENT}{row.name}`" for row in TABLE if row.parent]
    corruptions = [f"`{name}`" for name in get_args(Corruption)]
    parts = [
        "# Metrics of a trial",
        _wrapped(
            "The metrics that the project's own trainer reports, made from `crds/comptroller_api/metrics.py`"
            " by `make generate`. Quality, latency and size are those of the exported ONNX file that is"
            " shipped, and quality is measured on the validation split."
            " [What is measured beyond accuracy](measure.md) has the methods."
        ),
        _wrapped(
            "A metric with a direction can be an objective of a study (`spec.objectives`). A metric without a"
            " task belongs to both tasks."
        ),
        *(section for measurer in MEASURERS for section in _section(measurer)),
        "## The parent",
        _wrapped(
            "The report of a compressed model also has these metrics of the uncompressed model (the"
            f" *parent*): {', '.join(parents)}."
        ),
        "## Corruptions",
        _wrapped(
            f"`<corruption>` is one of {', '.join(corruptions)}. The kind of the samples decides which"
            " of them are measured."
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _section(measurer: Measurer) -> Iterator[str]:
    """Yield the heading, the conditions and the table of the metrics of one measurer."""
    yield f"## {measurer.title}"
    notes = [f"Measured by `{measurer.path}`."]
    if measurer.parameter:
        notes.append("Reported if `{}` is `{}`.".format(*measurer.parameter))
    if measurer.field:
        notes.append(f"Reported if the study has `{measurer.field}`.")
    if measurer.timed:
        notes.append("`comptroller reproduce` shows these metrics and does not compare them.")
    yield _wrapped(" ".join(notes))
    head = ("metric", "task", "direction", "unit or range", "meaning")
    rows = [
        (f"`{row.name}`", row.task or "", row.direction or "", _unit(row), row.meaning)
        for row in TABLE
        if row.measurer == measurer
    ]
    yield "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rows))


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_on_hyphens=False, break_long_words=False)


def _unit(row: Metric) -> str:
    numbers = row.unit_for("Regression")
    return row.unit if row.unit == numbers else f"{row.unit}; for a regression, {numbers}"


def files() -> dict[Path, str]:
    """Return the content of each generated file."""
    out = {METRICS: metrics()}
    for kind in KINDS:
        text = HEADER + manifest(definition(kind))
        out[HERE / f"{GROUP}_{kind.plural}.yaml"] = text
        out[CHART / f"{kind.plural}.yaml"] = template(text)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    check = parser.parse_args().check
    expected = files()
    stale = [path for path, text in expected.items() if not path.exists() or path.read_text() != text]
    odd = {*HERE.glob("*.yaml"), *CHART.glob("*.yaml")} - expected.keys()
    for path in stale:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(expected[path])
    for path in [*stale, *odd]:
        outcome = "differs from the models" if check else "written"
        outcome = "has no model" if path in odd else outcome
        print(f"{path.relative_to(HERE.parent)}: {outcome}")  # noqa: T201 - a script
    return 1 if odd or (check and stale) else 0


if __name__ == "__main__":
    sys.exit(main())
