"""A process that serves the artifact and nothing else: its latency, and the memory it takes.

`python -m comptroller_trainer.measure.serve GRAPH INPUTS DEVICE THREADS` prints one line of JSON.
"""

import ctypes
import json
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WARM_UP = 0.2
_LEAST = 50
"""Calls of a round: four rounds are 200 calls, whose p99 is the mean of the two slowest, as few as can be."""
_ROUND = 0.25
"""Seconds that a round takes at least."""
_ROUNDS, _MOST = 4, 8
"""How many there are, and how many there may be until enough of them agree."""
_TOO_LONG = 15.0
"""Seconds after which it ends anyway."""
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Serve, and print what it took."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # no measurer, no measurement
    began = time.perf_counter()
    # Imported here, so that a cold start counts them.
    import numpy as np  # noqa: PLC0415

    from comptroller_trainer.measure.latency import ENOUGH, quiet, told  # noqa: PLC0415
    from comptroller_trainer.measure.session import open_session  # noqa: PLC0415

    graph, inputs, device, threads = arguments
    batch = np.load(inputs, allow_pickle=False)
    session = open_session(Path(graph), device, int(threads))
    feed = {session.get_inputs()[0].name: batch}
    session.run(None, feed)
    cold = time.perf_counter() - began
    until = time.perf_counter() + _WARM_UP
    while time.perf_counter() < until:
        session.run(None, feed)
    rounds: list[NDArray[np.float64]] = []
    start = time.perf_counter()
    while len(rounds) < _ROUNDS or (len(quiet(rounds)) < ENOUGH and len(rounds) < _MOST):
        if rounds and time.perf_counter() - start > _TOO_LONG:
            break
        rounds.append(np.array(_round(lambda: session.run(None, feed), start + _TOO_LONG)))
    measured = told(rounds) | _peak_resident()
    measured |= {"calls": sum(map(len, rounds)), "cold_start_ms": cold * 1000}
    sys.stdout.write(json.dumps(measured) + "\n")


def _round(call: Callable[[], object], until: float) -> list[float]:
    """Seconds of each call."""
    times: list[float] = []
    start = after = time.perf_counter()
    while (len(times) < _LEAST or after - start < _ROUND) and after < until:
        before = time.perf_counter()
        call()
        after = time.perf_counter()
        times.append(after - before)
    return times


def _peak_resident() -> dict[str, float]:
    """`peak_memory_bytes`, where the kernel tells it.

    Not getrusage's, which starts from what the process that forked this one had resident.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return {"peak_memory_bytes": int(found[1]) * 1024.0} if found else {}


if __name__ == "__main__":
    main(sys.argv[1:])
