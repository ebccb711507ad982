"""Compare a compressed artifact with its parent, both measured in one run, and refuse one without gain."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from comptroller_api.metrics import LATENCIES, PARENT, TABLE
from comptroller_trainer.errors import NoGainError

Must = Literal["gain", "faster", "smaller", "anything"]
_NOISE = 0.05
"""Share by which latencies differ by chance."""
_LATENCY, _SIZE = LATENCIES["P50"], "artifact_bytes"
_OF_PARENT = tuple(row.name for row in TABLE if row.parent)

Metrics = Mapping[str, float]


def against_parent(
    must: Must, ours: Metrics, theirs: Metrics, again: Callable[[], tuple[Metrics, Metrics]], *,
    alike: bool = False,
) -> Metrics:  # fmt: skip
    """Return the artifact's metrics, and those of its parent that the report has.

    Args:
        must: the requirement on the artifact.
        ours: its metrics.
        theirs: its parent's.
        again: measures the latency of both once more, where neighbours may have been in the way of either.
        alike: both are one graph with other weights, so latency cannot differ.

    Raises:
        NoGainError: the requirement does not hold.
    """
    smaller = ours[_SIZE] < theirs[_SIZE]
    if not alike and (must == "faster" or (must == "gain" and not smaller)):
        trusted = all(one.get("latency_trusted", 1.0) for one in (ours, theirs))
        if not trusted or not _faster(ours, theirs):
            ours, theirs = map(_quieter, (ours, theirs), again())
    faster = not alike and _faster(ours, theirs)
    held = {"gain": smaller or faster, "faster": faster, "smaller": smaller, "anything": True}
    found = {**ours} | {PARENT + name: theirs[name] for name in _OF_PARENT if name in theirs}
    if not held[must]:
        error = NoGainError(
            "compress.must", must,
            f"is not met: artifact {ours[_LATENCY]:.4g} ms, {ours[_SIZE]:.0f} bytes;"
            f" parent {theirs[_LATENCY]:.4g} ms, {theirs[_SIZE]:.0f} bytes"
            f"{', by the same graph' if alike else ''}",
        )  # fmt: skip
        error.metrics = found
        raise error
    return found


def same_graph(graph: Path, parent: Path) -> bool:
    """Return true if two ONNX files are one graph with other weights, which ONNX Runtime serves alike."""
    import onnx  # noqa: PLC0415 - a second that trials without a parent do not need

    def shape(path: Path) -> object:
        held = onnx.load(path).graph
        # Sorted: masked weights are written after the others.
        return [n.op_type for n in held.node], sorted((c.data_type, *c.dims) for c in held.initializer)

    return shape(graph) == shape(parent)


def _quieter(first: Metrics, again: Metrics) -> Metrics:
    return {**first, **again} if again[_LATENCY] < first[_LATENCY] else first


def _faster(ours: Metrics, theirs: Metrics) -> bool:
    return ours[_LATENCY] < theirs[_LATENCY] * (1 - _NOISE)
