"""A compressed artifact beside its parent, both measured in one run: it is what it had to be, or refused."""

from collections.abc import Callable, Mapping
from typing import Literal

from comptroller_trainer.errors import NoGainError

Must = Literal["gain", "faster", "smaller", "anything"]
_NOISE = 0.05
"""Share of a latency that says nothing."""
_LATENCY, _SIZE = "latency_p50_ms", "artifact_bytes"
_TOLD = ("accuracy", "loss", "rmse", _LATENCY, "latency_p95_ms", "peak_memory_bytes", _SIZE)

Metrics = Mapping[str, float]


def beside(
    must: Must, ours: Metrics, theirs: Metrics, again: Callable[[], tuple[Metrics, Metrics]]
) -> Metrics:
    """What the report says of the parent.

    Args:
        must: what the artifact has to be.
        ours: its metrics.
        theirs: its parent's.
        again: measures the latency of both once more, where neighbours may have been in the way.

    Raises:
        NoGainError: it is not.
    """
    smaller = ours[_SIZE] < theirs[_SIZE]
    fast, slow = ours[_LATENCY], theirs[_LATENCY]
    if not _faster(fast, slow) and (must == "faster" or (must == "gain" and not smaller)):
        once, more = again()
        fast, slow = min(fast, once[_LATENCY]), min(slow, more[_LATENCY])
    held = {
        "gain": smaller or _faster(fast, slow), "faster": _faster(fast, slow), "smaller": smaller,
        "anything": True,
    }  # fmt: skip
    if not held[must]:
        raise NoGainError(
            "compress.must", must,
            f"is not what it became: {fast:.4g} ms and {ours[_SIZE]:.0f} bytes, before {slow:.4g} ms and"
            f" {theirs[_SIZE]:.0f} bytes",
        )  # fmt: skip
    return {f"parent_{name}": theirs[name] for name in _TOLD if name in theirs}


def _faster(fast: float, slow: float) -> bool:
    return fast < slow * (1 - _NOISE)
