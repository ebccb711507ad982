"""Counters of this process, its children and the machine."""

import resource
import time

import psutil

_SELF = psutil.Process()


def cpu_seconds() -> float:
    """Return user and system seconds of this process and its children, those that have ended included."""
    times = _SELF.cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    for child in _SELF.children(recursive=True):
        try:
            used = child.cpu_times()
        except psutil.Error:
            continue  # ended between the list and the look; counted above once it is waited for
        total += used.user + used.system + used.children_user + used.children_system
    return float(total)


def machine_busy_seconds() -> float:
    """Return the seconds of all processors that were not idle, since the machine began."""
    times = psutil.cpu_times()
    busy: float = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
    return busy


def peak_memory() -> int:
    """Return the most bytes that this process has had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def began() -> float:
    """Return the monotonic second at which this process began, or now if it is unknown."""
    try:
        return time.monotonic() - (time.time() - _SELF.create_time())
    except psutil.Error:
        return time.monotonic()
