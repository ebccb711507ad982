"""Learning rates as functions of progress, so that there is no scheduler state to carry.

Only plateau looks at validations; `fit.state` counts its drops.
"""

import math

_ONE_CYCLE_WARMUP = 0.25
_FLOOR = 1e-3
"""The share of the peak at which falling schedules end and a warmup begins."""


def rate(schedule: str, progress: float, warmup: float | None = None) -> float:
    """Return the learning rate as a share of its peak.

    Args:
        schedule: one_cycle (linear rise, cosine fall; after Smith, 2018), cosine, linear (fall), constant or
            plateau, which is constant here.
        progress: share of the last rung's epochs that is behind, 0 to 1. Rungs do not change it.
        warmup: share of training in which the rate rises linearly; None for the schedule's own.
    """
    if warmup is None:
        warmup = _ONE_CYCLE_WARMUP if schedule == "one_cycle" else 0.0
    if progress < warmup:
        return max(progress / warmup, _FLOOR)
    if schedule in {"constant", "plateau"}:
        return 1.0
    fallen = min((progress - warmup) / (1 - warmup), 1.0)
    left = 1 - fallen if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * fallen))
    return _FLOOR + (1 - _FLOOR) * left
