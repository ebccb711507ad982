"""Compare what a trial left with what its second run left; pure functions."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from comptroller_api.contract import Report
from comptroller_api.metrics import is_timed

COMPARED = ("model.safetensors", "model.onnx", "selection.npz", "data.json")
"""The artifacts that must be the same if the trial is reproduced."""
_ABSENT = "-"
_SHOWN = 12
"""Digits of a SHA-256."""


@dataclass(frozen=True, slots=True)
class Left:
    """The report of a run, and the `digest` of each compared artifact."""

    report: Report
    digests: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """One value then and now, as a person reads it; `-` if there was no value."""

    kind: Literal["metric", "artifact", "timed", "environment"]
    name: str
    then: str
    now: str
    same: bool

    @property
    def judged(self) -> bool:
        """True if a difference is a fault of the trial, not of the machine."""
        return self.kind in {"metric", "artifact"}


def compare(then: Left, now: Left) -> list[Line]:
    """Return a line for each metric, artifact, timed metric and entry of the environment, in this order."""
    before, after = then.report, now.report
    metrics = [_number("metric", "epochs", before.epochs, after.epochs)]
    timed: list[Line] = []
    for name in sorted(before.metrics.keys() | after.metrics.keys()):
        kind: Literal["metric", "timed"] = "timed" if is_timed(name) else "metric"
        line = _number(kind, name, before.metrics.get(name), after.metrics.get(name))
        (timed if kind == "timed" else metrics).append(line)
    timed.append(_number("timed", "seconds", before.seconds, after.seconds))
    artifacts = [
        _text("artifact", name, then.digests.get(name), now.digests.get(name))
        for name in COMPARED
        if name in then.digests or name in now.digests
    ]
    names = sorted(before.environment.keys() | after.environment.keys())
    environment = [
        _text("environment", name, before.environment.get(name), after.environment.get(name))
        for name in names
    ]
    return metrics + artifacts + timed + environment


def differing(lines: list[Line]) -> list[str]:
    """Return the names of the lines that differ and should not."""
    return [line.name for line in lines if line.judged and not line.same]


def digest(name: str, content: bytes) -> str:
    """Return the SHA-256 of an artifact's content, independent of its packing and its address.

    For `.npz` files this is the digest of the arrays, since another zlib packs them differently; for
    `data.json` that of everything but the URIs, since copies of data are as good.

    Raises:
        ValueError: the content is not what the name says.
    """
    if name.endswith(".npz"):
        return _of_arrays(content)
    if name == "data.json":
        content = _without_addresses(content)
    return hashlib.sha256(content).hexdigest()


def _of_arrays(content: bytes) -> str:
    found = hashlib.sha256()
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        for name in sorted(arrays.files):
            array = arrays[name]
            found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            found.update(array.tobytes())
    return found.hexdigest()


def _without_addresses(content: bytes) -> bytes:
    manifest = json.loads(content)
    for source in manifest["sources"] if manifest else ():
        del source["uri"]
    return json.dumps(manifest, sort_keys=True).encode()


def _number(kind: Literal["metric", "timed"], name: str, then: float | None, now: float | None) -> Line:
    # Print every digit of a metric: two that look alike are alike.
    digits = None if kind == "metric" else 3
    before, after = (
        _ABSENT if value is None else repr(value if digits is None else round(value, digits))
        for value in (then, now)
    )
    return Line(kind, name, before, after, before == after)


def _text(kind: Literal["artifact", "environment"], name: str, then: str | None, now: str | None) -> Line:
    cut = _SHOWN if kind == "artifact" else None
    before, after = (_ABSENT if value is None else value[:cut] for value in (then, now))
    return Line(kind, name, before, after, then == now)
