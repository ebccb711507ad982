"""The table of `manifests.yaml`: stored manifests, sent manifests, and the API server's answers."""

import re
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TABLE = Path(__file__).with_suffix(".yaml")
_STEP = re.compile(r"\['([^']+)'\]|\[(\d+)\]|\.?([^.\[]+)")


@dataclass(frozen=True)
class Case:
    """One manifest and the answers to it; an update if something is stored."""

    name: str
    kind: str
    sent: dict[str, Any]
    stored: dict[str, Any] | None
    says: tuple[str, ...]

    def __str__(self) -> str:
        return self.name


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load(TABLE.read_text())
    return table


def valid(kind: str) -> dict[str, Any]:
    """Return the smallest manifest of a kind that is accepted."""
    out: dict[str, Any] = deepcopy(_table()["valid"][kind])
    return out


def cases(section: str) -> list[Case]:
    """Return the cases of a section, `accepted` or `refused`."""
    out = []
    for row in _table()[section]:
        stored = None if row.get("stored") is None else change(valid(row["kind"]), row["stored"])
        sent = change(valid(row["kind"]), row["set"])
        out.append(Case(row["name"], row["kind"], sent, stored, tuple(row.get("says", ()))))
    return out


def change(manifest: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    """Return `manifest` with fields set by path; None removes one, the index after the last appends."""
    for path, value in fields.items():
        steps: list[Any] = [
            name or (int(index) if index else key) for name, index, key in _STEP.findall(path)
        ]
        at: Any = manifest
        for step in steps[:-1]:
            at = at[step] if isinstance(at, list) else at.setdefault(step, {})
        last = steps[-1]
        if isinstance(at, list) and last == len(at):
            at.append(deepcopy(value))
        elif value is None:
            at.pop(last, None)
        else:
            at[last] = deepcopy(value)
    return manifest
