"""The days of a budget's periods, read apart from `plan`: the oracle must not share code with its subject."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from comptroller.ledger.names import AttemptKey
from comptroller.simulation.fold import Held


class Ran(Protocol):
    """The time in which a pod ran, in unix seconds."""

    @property
    def scheduled(self) -> int | None: ...
    @property
    def ended(self) -> int | None: ...


def window(label: str, zone: str) -> tuple[int, int] | None:
    """Return the first unix second of the period `label`, and of the one after it; `None`: all there are."""
    if label == "total":
        return None
    if "W" in label:
        begin, length = datetime.strptime(f"{label}-1", "%G-W%V-%u").replace(tzinfo=UTC), timedelta(weeks=1)
    else:
        begin, length = datetime.strptime(label, "%Y-%m-%d").replace(tzinfo=UTC), timedelta(days=1)
    ends = begin + length
    return tuple(int(day.replace(tzinfo=ZoneInfo(zone)).timestamp()) for day in (begin, ends))  # type: ignore[return-value]


def is_of(label: str, kind: str) -> bool:
    """Return whether `label` is a period of `kind`."""
    return kind == ("Total" if label == "total" else "Weekly" if "W" in label else "Daily")


def paid(
    attempts: Iterable[Held],
    ran: Mapping[AttemptKey, Ran],
    leased: Mapping[AttemptKey, tuple[int, int]],
    budget: str,
    days: tuple[int, int] | None,
) -> int:
    """Return what leases on any period of `budget` cost and hold that ran within `days`. Micro-units.

    Args:
        attempts: of every study.
        ran: when their pods ran.
        leased: for which seconds the first leases were, by the clocks of those who granted them. A pod that
            waited for its node, and one that was leased by a wrong clock, may run in other days than those
            that it was paid for.
        budget: the name.
        days: first second, and the first one after them; `None`: all there are.
    """
    total = 0
    for attempt in attempts:
        accounts = [name.split("/") for name in attempt.first.accounts]
        if days is not None and not _overlap(leased[attempt.key], days):
            continue
        if any(parts[:2] == ["budget", budget] and len(parts) == 3 for parts in accounts):  # noqa: PLR2004
            total += attempt.covered * _within(ran.get(attempt.key), days)
    return total


def _within(job: Ran | None, days: tuple[int, int] | None) -> bool:
    if days is None:
        return True
    if job is None or job.scheduled is None:
        return False  # it has cost nothing yet; what it holds is looked at once it runs
    ended = job.ended if job.ended is not None else days[1]
    return _overlap((job.scheduled, ended), days)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
