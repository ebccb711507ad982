"""Serve the artifact in a process without other work, and measure each call and the memory.

`python -m comptroller_trainer.measure.serve GRAPH INPUTS DEVICE THREADS FOUND` leaves a `ServingLaunch`
in FOUND.
"""

import ctypes
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

_WARM_UP = 0.2
_ENOUGH = 0.5
"""Seconds that calls are timed for at least."""
_BLOCK = 0.004
"""Seconds between two looks at the machine's pace."""
_LEAST = 50
"""Calls."""
_TOO_LONG = 5.0
"""Seconds after which it ends with fewer."""
_PR_SET_PDEATHSIG = 1
_SCHEDSTAT = Path("/proc/self/schedstat")


def main(arguments: list[str]) -> None:
    """Serve, and write the measurements."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # no measurer, no measurement
    began = time.perf_counter()
    # Imported here, so that a cold start counts them.
    import numpy as np  # noqa: PLC0415 - see above

    from comptroller_trainer.measure.latency import ServingLaunch  # noqa: PLC0415 - see above
    from comptroller_trainer.measure.pace import pace  # noqa: PLC0415 - see above
    from comptroller_trainer.measure.session import open_session  # noqa: PLC0415 - see above

    graph, inputs, device, threads, found = arguments
    batch = np.load(inputs, allow_pickle=False)
    session = open_session(Path(graph), device, int(threads))
    feed = {session.get_inputs()[0].name: batch}

    def call() -> None:
        session.run(None, feed)

    call()
    cold = time.perf_counter() - began
    until = time.perf_counter() + _WARM_UP
    while time.perf_counter() < until:
        call()
    times: list[float] = []
    sizes: list[int] = []
    paces, waits = [pace()], []
    start = time.perf_counter()
    while (took := time.perf_counter() - start) < _TOO_LONG and (took < _ENOUGH or len(times) < _LEAST):
        began, before = time.perf_counter(), _waited()
        block = _block(call)
        waits.append((_waited() - before) / (time.perf_counter() - began))
        times += block
        sizes.append(len(block))
        paces.append(pace())
    blocks = np.repeat(np.arange(len(sizes)), sizes)
    launch = ServingLaunch(
        np.array(times), blocks, np.array(paces), np.array(waits), cold, _peak_resident()
    )  # fmt: skip
    np.savez(found, **launch._asdict())


def _block(call: Callable[[], None]) -> list[float]:
    """Return the seconds of each call."""
    times: list[float] = []
    start = after = time.perf_counter()
    while after - start < _BLOCK:
        before = time.perf_counter()
        call()
        after = time.perf_counter()
        times.append(after - before)
    return times


def _waited() -> float:
    """Return the seconds that this thread waited for a core; 0 if the kernel does not report them."""
    try:
        return int(_SCHEDSTAT.read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _peak_resident() -> float:
    """Return bytes; NaN if the kernel does not report them.

    Not getrusage's, which starts from what the process that forked this one had resident.
    """
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024.0 if found else float("nan")


if __name__ == "__main__":
    main(sys.argv[1:])
