"""The reference table of parameters, made from the classes that read them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic import BaseModel

from comptroller_trainer import registry
from comptroller_trainer.recipe import CHOICES, JOINT, Training

_BOUNDS = {
    "minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
}  # fmt: skip


_HEAD = """# Parameters of a trial

What `spec.space` can search and `spec.baseline` can set, made from the classes that read it by
`comptroller-trainer parameters`, which in your own image lists your own stages too.

"""


class Row(NamedTuple):
    """One parameter."""

    name: str
    where: str
    """The stages it belongs to; empty for all of the lever's."""
    values: str
    default: str
    meaning: str


def rows() -> Iterator[Row]:
    """Every parameter of every stage that is installed; stages that read it alike share a row."""
    for lever, choice in CHOICES.items():
        names = list(registry.known(choice.group))
        meaning = f"Entry points `{choice.group}`."
        if lever == "compress":
            meaning += f" Several are joined by `{JOINT}`: parts taken out, trained further, numbers changed."
        yield Row(f"{lever}.{choice.field}", "", " ".join(names), choice.default, meaning)
        readers: dict[Row, list[str]] = {}
        for name in names:
            for row in _fields(registry.known(choice.group)[name].load().Parameters, lever):
                readers.setdefault(row, []).append(name)
        yield from (row._replace(where=" ".join(of)) for row, of in readers.items())
    yield from _fields(Training, "recipe")


def page() -> str:
    """The rows as a page of Markdown."""
    lines = ["| parameter | of | values | default | meaning |", "|---|---|---|---|---|"]
    lines += [f"| `{r.name}` | {r.where} | {r.values} | `{r.default}` | {r.meaning} |" for r in rows()]
    return _HEAD + "\n".join(lines) + "\n"


def _fields(kind: type[BaseModel], lever: str) -> Iterator[Row]:
    for name, described in kind.model_json_schema().get("properties", {}).items():
        optional: dict[str, Any] = next(
            (one for one in described.get("anyOf", ()) if one["type"] != "null"), {}
        )
        schema = described | optional
        if "enum" in schema:
            values = " ".join(str(value) for value in schema["enum"])
        else:
            bounds = [text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema]
            values = " ".join([schema.get("type", ""), ", ".join(bounds)]).strip()
        default, meaning = str(schema.get("default", "")), schema.get("description", "")
        yield Row(f"{lever}.{name}", "", values, default, meaning)
