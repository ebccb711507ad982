"""The number of CPUs of this attempt."""

import math
import os
from pathlib import Path

from comptroller_api import quantity
from comptroller_trainer.errors import AssignmentError

CPUS_ENV = "COMPTROLLER_CPUS"
_CGROUP = Path("/sys/fs/cgroup")


def requested() -> float:
    """Return the CPUs that `COMPTROLLER_CPUS` requests (such as `500m` or `2`), else the limit in force.

    Raises:
        AssignmentError: the variable is not a quantity.
    """
    named = os.environ.get(CPUS_ENV)
    if named:
        try:
            milli = quantity.milli(named)
        except ValueError as error:
            raise AssignmentError(CPUS_ENV, named, "is not a quantity such as '500m' or '2'") from error
        if milli <= 0:
            raise AssignmentError(CPUS_ENV, named, "must be more than zero")
        return milli / 1000
    usable = float(len(os.sched_getaffinity(0)))
    quota = _quota()
    return min(usable, quota) if quota else usable


def threads() -> int:
    """Return the number of threads that the requested CPUs can keep busy."""
    return max(1, math.ceil(requested()))


def _quota() -> float | None:
    """Return the CPUs that the control group allows, version 2 or 1; None if it sets no limit."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((_CGROUP / name).read_text() for name in files).split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):
            continue
        return quota / period if quota > 0 and period > 0 else None
    return None
