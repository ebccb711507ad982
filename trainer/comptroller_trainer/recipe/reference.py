"""The reference table of parameters, made from the classes that read them."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from comptroller_api.trainer import JOINT, Parameter
from comptroller_trainer.recipe.description import description
from comptroller_trainer.stages import registry
from comptroller_trainer.stages.registry import CHOICES, EXPORTERS

_BOUNDS = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "lt": "< {}"}
_HEAD = """# Parameters of a trial

What `spec.space` can search and `spec.baseline` can set, made from the classes that read it by
`comptroller-trainer parameters`, which in your own image lists your own stages too.

"""


class ParameterRow(NamedTuple):
    """One parameter."""

    name: str
    where: str
    """The parameter's stages; empty for all stages of the lever."""
    values: str
    default: str
    meaning: str


def rows() -> Iterator[ParameterRow]:
    """Yield every parameter of every installed stage; stages that read a parameter alike share a row."""
    trainer = description()
    for lever, choice in CHOICES.items():
        stages = trainer.stages(lever)
        meaning = f"Entry points `{choice.group}`."
        if lever == "compress":
            meaning += f" Several are joined by `{JOINT}`: parts taken out, trained further, numbers changed."
        yield ParameterRow(f"{lever}.{choice.field}", "", " ".join(stages), choice.default, meaning)
        readers: dict[ParameterRow, list[str]] = {}
        for name, stage in stages.items():
            for row in _rows(stage.parameters, lever):
                readers.setdefault(row, []).append(name)
        yield from (row._replace(where=" ".join(of)) for row, of in readers.items())
    for row in _rows(trainer.recipe, "recipe"):
        named = row.name == "recipe.exports"
        yield row._replace(values=" ".join(["none", *registry.known(EXPORTERS)])) if named else row


def page() -> str:
    """Return the rows as a page of Markdown."""
    lines = ["| parameter | of | values | default | meaning |", "|---|---|---|---|---|"]
    lines += [f"| `{r.name}` | {r.where} | {r.values} | `{r.default}` | {r.meaning} |" for r in rows()]
    return _HEAD + "\n".join(lines) + "\n"


def _rows(parameters: Mapping[str, Parameter], lever: str) -> Iterator[ParameterRow]:
    for name, one in parameters.items():
        if one.values:
            values = " ".join(map(str, one.values))
        else:
            bounds = [t.format(b) for key, t in _BOUNDS.items() if (b := getattr(one, key)) is not None]
            values = " ".join([one.type, ", ".join(bounds)]).strip()
        yield ParameterRow(f"{lever}.{name}", "", values, str(one.default), one.description)
