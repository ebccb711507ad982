"""A search of the shortest schedule that fails in the same way: delta debugging over its events.

Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input" (IEEE TSE 2002). Events are drawn
before a run begins, so leaving one out changes no other.
"""

from collections.abc import Callable, Sequence

from comptroller.simulation.run import Result, Run
from comptroller.simulation.schedule import Schedule

_MOST_RUNS = 400


def shrink(schedule: Schedule) -> tuple[list[int], Result]:
    """The places of the events that are needed for the first violation, and the run with only these.

    Raises:
        ValueError: the schedule does not fail.
    """
    first = Run(schedule).execute()
    if not first.violations:
        raise ValueError(f"seed {schedule.seed} has no violation")
    promise = first.violations[0].promise

    def fails(places: Sequence[int]) -> bool:
        found = Run(schedule.only(places)).execute().violations
        return bool(found) and found[0].promise == promise

    kept = minimal(range(len(schedule.events)), fails)
    return kept, Run(schedule.only(kept), keep_trace=True).execute()


def minimal(
    places: Sequence[int], fails: Callable[[Sequence[int]], bool], runs: int = _MOST_RUNS
) -> list[int]:
    """A subset of `places` that fails and of which no element, and no larger part tried, can be left out."""
    kept, parts = list(places), 2
    while len(kept) > 1 and runs > 0:
        size = -(-len(kept) // parts)
        for begin in range(0, len(kept), size):
            without = kept[:begin] + kept[begin + size :]
            runs -= 1
            if without and fails(without):
                kept, parts = without, max(2, parts - 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(kept), parts * 2)
    return kept
