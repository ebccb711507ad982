"""Compute quantiles of timed calls, and whether to trust them; numpy alone, since the server imports this."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

ENOUGH = 3
"""Launches that must agree."""
LEAST = 20
"""Calls of a launch: fewer have no p95."""
_QUIET = 1.12
"""Multiple of the fastest pace that still counts as quiet: the clock alone changes by a tenth."""
_WAITED = 0.05
"""Share of a block that may pass while others have the core."""
_SHARE = 0.5
"""Share of a launch's calls that must be quiet: neighbours leave caches changed."""
_AGREE = 0.05
"""Share by which a launch's p95 may be off the median of all."""
_QUANTILES = (50, 95, 99)
_Z = 1.96
"""Standard deviations of a 95% interval."""


class ServingLaunch(NamedTuple):
    """The measurements of one serving process.

    Attributes:
        calls: seconds of each, (n,).
        blocks: the number of each call's block, (n,).
        paces: the machine's before each block and after the last, (blocks + 1,), seconds.
        waited: share of each block in which the process waited for the core, (blocks,).
        cold: seconds from the process's start to its first answer.
        peak: bytes resident at most; NaN if the kernel does not report them.
    """

    calls: NDArray[np.float64]
    blocks: NDArray[np.int64]
    paces: NDArray[np.float64]
    waited: NDArray[np.float64]
    cold: float
    peak: float


def quiet(launch: ServingLaunch, fastest: float) -> NDArray[np.float64]:
    """Return the calls of blocks that kept the core, with the pace near its fastest before and after.

    Args:
        launch: with any number of calls.
        fastest: the machine's fastest pace, seconds.
    """
    undisturbed = np.maximum(launch.paces[:-1], launch.paces[1:]) <= _QUIET * fastest
    return launch.calls[(undisturbed & (launch.waited <= _WAITED))[launch.blocks]]


def agreeing(launches: Sequence[ServingLaunch], fastest: float) -> list[NDArray[np.float64]]:
    """Return quiet calls of each launch that has enough, and whose p95 is close to the median p95."""
    enough = [
        calls for one in launches if len(calls := quiet(one, fastest)) >= max(LEAST, _SHARE * len(one.calls))
    ]
    slow = [float(np.percentile(calls, 95)) for calls in enough]
    return [c for c, p95 in zip(enough, slow, strict=True) if abs(p95 / np.median(slow) - 1) <= _AGREE]


def summarize(launches: Sequence[ServingLaunch], fastest: float) -> dict[str, float]:
    """Return the metrics of the launches.

    `latency_p50_ms`, `latency_p95_ms` and `latency_p99_ms` over the quiet calls of the launches that agree;
    the 95% interval of p95 by its order statistics (`latency_p95_low_ms`, `latency_p95_high_ms`);
    `latency_trusted`: 1 where enough launches agree, else 0, and then the rest is of all quiet calls, or of
    all calls if those are too few; `cold_start_ms`, the median, and `peak_memory_bytes`, the most.

    Args:
        launches: at least one, with a call each.
        fastest: the machine's pace when nobody is in the way, seconds.
    """
    kept = agreeing(launches, fastest)
    trusted = len(kept) >= ENOUGH
    if not trusted:
        kept = [quiet(one, fastest) for one in launches]
        if sum(map(len, kept)) < LEAST:
            kept = [one.calls for one in launches]
    calls = np.sort(np.concatenate(kept)) * 1000
    found = {f"latency_p{q}_ms": float(np.percentile(calls, q)) for q in _QUANTILES}
    # The number of n calls under the quantile is binomial.
    count = len(calls)
    around = _Z * math.sqrt(count * 0.95 * 0.05)
    low, high = (round(min(max(0.95 * count + sign * around, 0), count - 1)) for sign in (-1, 1))
    peaks = [one.peak for one in launches if not math.isnan(one.peak)]
    return found | {
        "latency_p95_low_ms": float(calls[low]),
        "latency_p95_high_ms": float(calls[high]),
        "latency_trusted": float(trusted),
        "cold_start_ms": 1000 * float(np.median([one.cold for one in launches])),
    } | ({"peak_memory_bytes": max(peaks)} if peaks else {})  # fmt: skip
