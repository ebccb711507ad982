"""A process that serves the artifact and nothing else: its latency, and the memory it takes.

`python -m comptroller_trainer.measure.serve GRAPH INPUTS DEVICE THREADS` prints one line of JSON.
"""

import ctypes
import json
import re
import signal
import sys
import time
from pathlib import Path

_WARM_UP = 0.2
_LEAST, _MOST = 200, 2000
"""Calls that are timed: p99 of 200 is the mean of the two slowest, as few as can be called a p99."""
_ENOUGH, _TOO_LONG = 1.0, 15.0
"""Seconds of timed calls after which no more than the least are made, and after which it ends anyway."""
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Serve, and print what it took."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # no measurer, no measurement
    began = time.perf_counter()
    # Imported here, so that a cold start counts them.
    import numpy as np  # noqa: PLC0415

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
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < _MOST:
        before = time.perf_counter()
        session.run(None, feed)
        after = time.perf_counter()
        times.append(after - before)
        if after - start > (_ENOUGH if len(times) >= _LEAST else _TOO_LONG):
            break
    p50, p95, p99 = (float(q) for q in np.percentile(np.array(times) * 1000, (50, 95, 99)))
    measured = {
        "latency_p50_ms": p50,
        "latency_p95_ms": p95,
        "latency_p99_ms": p99,
        "peak_memory_bytes": _peak_resident(),
        "calls": len(times),
        "cold_start_ms": cold * 1000,
    }
    sys.stdout.write(json.dumps(measured) + "\n")


def _peak_resident() -> int:
    """Bytes. Not getrusage's, which starts from what the process that forked this one had resident."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


if __name__ == "__main__":
    main(sys.argv[1:])
