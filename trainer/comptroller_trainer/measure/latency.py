"""From rounds of timed calls to quantiles that can be trusted, or not; numpy alone, as serving wants it."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

AGREE = 0.1
"""Share by which a round's p95 may be above the quietest one's and still be of the same machine."""
ENOUGH = 3
"""Rounds that have to agree."""
_QUANTILES = (50, 95, 99)
_Z = 1.96
"""Standard deviations of a 95% interval."""


def quiet(rounds: Sequence[NDArray[np.float64]]) -> list[NDArray[np.float64]]:
    """Those whose p95 is close to the least of all: nobody was in their way."""
    slow = [float(np.percentile(one, 95)) for one in rounds]
    return [one for one, p95 in zip(rounds, slow, strict=True) if p95 <= min(slow) * (1 + AGREE)]


def told(rounds: Sequence[NDArray[np.float64]]) -> dict[str, float]:
    """What the rounds say of one call's latency.

    `latency_p50_ms`, `latency_p95_ms` and `latency_p99_ms` over the quiet rounds; the 95% interval of p95 by
    its order statistics (`latency_p95_low_ms`, `latency_p95_high_ms`); and `latency_trusted`: 1 where enough
    rounds agree, else 0.

    Args:
        rounds: seconds of calls, each round (n,).
    """
    kept = quiet(rounds)
    calls = np.sort(np.concatenate(kept)) * 1000
    found = {f"latency_p{q}_ms": float(np.percentile(calls, q)) for q in _QUANTILES}
    # How many of n calls are under the quantile is binomial.
    count = len(calls)
    around = _Z * math.sqrt(count * 0.95 * 0.05)
    low, high = (round(min(max(0.95 * count + sign * around, 0), count - 1)) for sign in (-1, 1))
    return found | {
        "latency_p95_low_ms": float(calls[low]),
        "latency_p95_high_ms": float(calls[high]),
        "latency_trusted": float(len(kept) >= ENOUGH),
    }
