"""The model card of a rung: the model, its origin, its quality and its cost."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from comptroller_api.contract import Assignment, Report
from comptroller_api.metrics import METRICS, PARENT
from comptroller_trainer.data.manifest import DataManifest
from comptroller_trainer.recipe.parse import Recipe
from comptroller_trainer.stages.base import Context

_FILES = 8
"""Files of a source that the card names at most."""
_ESCAPED = str.maketrans({mark: f"&#{ord(mark)};" for mark in "&<>|\\`*[]~"})
_LOAD = """```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
inputs = np.zeros({shape}, np.float32)  # one sample or more
(outputs,) = session.run(None, {{"input": inputs}})
```"""


def render(
    report: Report, assignment: Assignment, recipe: Recipe, context: Context, manifest: DataManifest | None
) -> str:
    """Return the card in Markdown.

    Args:
        report: of the attempt, with all artifacts but the card.
        assignment: what the attempt was given.
        recipe: its parameters.
        context: the trial's.
        manifest: of its data; None where they were made.
    """
    table = {**METRICS, **{row.name: row for row in recipe.compressor.measured}}
    groups = defaultdict[str, list[tuple[str, float, str]]](list)
    for name, value in report.metrics.items():
        group = "parent" if name.startswith(PARENT) else table[name].measurer.group
        groups[group].append((name, value, table[name].unit_for(assignment.data.task)))
    latency = assignment.latency
    where = f"{latency.device} (threads: {latency.threads}, batch: {latency.batch}), by {latency.quantile}"
    agreed = "agreed" if report.metrics.get("latency_trusted") else "did not agree: do not trust the latency"
    joules = f"from {report.energy_source}" if report.energy_joules is not None else "not measured"
    stages = [(s.name, s.seconds, _joules(s.energy_joules)) for s in report.stages]
    facts, metrics = partial(_table, ("what", "value")), partial(_table, ("metric", "value", "unit or range"))
    parts = [
        f"# {text(assignment.study)}, trial {assignment.trial}",
        facts(_identity(report, assignment)),
        "## Model",
        facts(_made(recipe, assignment)),
        "## Data",
        facts(_data(assignment, manifest)),
        "## Quality\n\nOf model.onnx, on the validation split.",
        metrics(groups["quality"]),
        f"## Serving\n\nOn {where}. Launches {agreed}.",
        metrics(groups["serving"]),
        "## Size",
        metrics(groups["size"]),
        *(["## Before compression", metrics(groups["parent"])] if groups["parent"] else ()),
        f"## Cost\n\nOf this attempt. Joules: {joules}.",
        _table(
            ("stage", "seconds", "joules"),
            [*stages, ("in all, so far", report.seconds, _joules(report.energy_joules))],
        ),
        "## Load it",
        _LOAD.format(shape=(1, *context.shape)),
        _interface(context, manifest),
        "## Limits",
        "\n".join(f"* {line}" for line in _limits(manifest)),
        "## Where it is from",
        facts(report.environment.items()),
        _table(("file", "bytes", "SHA-256"), [(f.uri, f.size, f.sha256) for f in report.artifacts]),
    ]
    return "\n\n".join(parts) + "\n"


def text(value: object) -> str:
    """Return `value` in one line that Markdown reads only as text, in a table too."""
    if isinstance(value, float):
        value = f"{value:.6g}"
    return " ".join(str(value).split()).translate(_ESCAPED)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *([text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _joules(value: float | None) -> float | str:
    return "" if value is None else value


def _stage(name: str, values: Mapping[str, object]) -> str:
    return ", ".join([name, *(f"{key}: {value}" for key, value in values.items())])


def _identity(report: Report, a: Assignment) -> Iterator[tuple[str, object]]:
    yield from {"namespace": a.namespace, "study": a.study, "trial": a.trial, "attempt": a.attempt}.items()
    yield from {"rung": a.rung, "epochs": f"{report.epochs} of {a.total_epochs}", "seed": a.seed}.items()


def _made(recipe: Recipe, a: Assignment) -> Iterator[tuple[str, str]]:
    names = recipe.names
    given = [(k.partition("."), v) for k, v in a.parameters.items() if k != "compress.method"]
    squeeze = {field: value for (lever, _, field), value in given if lever == "compress"}
    yield "architecture", _stage(names["model"], recipe.family.shipped().model_dump())
    yield "selection", _stage(names["data"], recipe.selector.parameters.model_dump())
    yield "augmentation", _stage(names["augment"], recipe.augmentation.parameters.model_dump())
    yield "compression", _stage(names["compress"], squeeze)
    yield "recipe", _stage("recipe.json; not the defaults", recipe.training.model_dump(exclude_defaults=True))


def _data(a: Assignment, manifest: DataManifest | None) -> Iterator[tuple[str, object]]:
    yield "format", a.data.format
    if manifest is None:
        return
    yield "task", f"{manifest.task}, {manifest.classes} classes" if manifest.classes else manifest.task
    yield "manifest", f"{manifest.sha256} (data.json)"
    for source in manifest.sources:
        yield f"source {source.name}", f"{source.uri}, {source.samples} samples"
        for file in source.files[:_FILES]:
            yield f"file {file.name}", f"{file.size} bytes, SHA-256 {file.sha256}"
        if (more := len(source.files) - _FILES) > 0:
            yield "files", f"{more} more are in data.json"
    yield "split", f"{manifest.split}, {manifest.validation} held out, seed {manifest.split_seed}"
    for name, split in manifest.splits.items():
        yield f"split {name}", f"{split.samples} samples"


def _interface(context: Context, manifest: DataManifest | None) -> str:
    values = "0 to 255" if manifest and manifest.dtype == "uint8" else "the data's own values"
    after = ", after the preprocessing in data.json" if manifest and manifest.preprocessing else ""
    names = ", named in data.json" if manifest and manifest.class_names else ""
    outputs = f"{context.classes} logits{names}" if context.classes else "the number"
    takes = f"float32 (n, {', '.join(map(str, context.shape))}), {values}{after}; the model standardises"
    return f"Inputs: {takes}. Outputs: {outputs}."


def _limits(manifest: DataManifest | None) -> Iterator[str]:
    yield "Every number is of the validation split, which also chose this model: new data will be less kind."
    yield "The test split was not read."
    for found in manifest.leakage.findings if manifest else ():
        yield text(f"Leakage from training into validation: {found.kind}, {found.count} of {found.of}.")
