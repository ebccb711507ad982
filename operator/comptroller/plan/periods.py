"""The periods of a budget, in its own time zone."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from comptroller_api.budget import A_TIME_ZONE, TIME_ZONES, Budget

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Period:
    """One period of a budget."""

    label: str
    starts: int | None
    """Unix seconds of its first moment; `None`: always."""
    ends: int | None
    """Unix seconds of the first moment after it; `None`: never."""

    def holds(self, now: int) -> bool:
        """Return whether `now`, in unix seconds, is in the period."""
        return (self.starts is None or self.starts <= now) and (self.ends is None or now < self.ends)


def zone(budget: Budget) -> ZoneInfo | None:
    """The budget's time zone, or `None` where there is no such zone; such a budget is refused."""
    return _zone(budget.spec.time_zone)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    if name not in TIME_ZONES:
        return None  # also where the data has a file or a directory of this name
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def mistakes(budget: Budget) -> list[str]:
    """Return the faults of a budget that a schema cannot express."""
    found = []
    if zone(budget) is None:
        found.append(f"spec.timeZone: {budget.spec.time_zone!r} {A_TIME_ZONE}")
    for place, credit in enumerate(budget.spec.credits):
        if end_of_day(budget, credit.until) is None:
            found.append(f"spec.credits[{place}].until: {credit.until!r} is not a day such as 2030-12-31")
    return found


def period(budget: Budget, now: int) -> Period:
    """The period of `budget` that holds `now`."""
    kind, place = budget.spec.period, zone(budget) or UTC
    known = _latest.get((kind, place))
    if known is None or not known.holds(now):
        known = _latest[kind, place] = _period(kind, place, now)
    return known


_latest: dict[tuple[str, tzinfo], Period] = {}
"""The period of the last call: passes call again and again. There are only so many time zones."""


def _period(kind: Literal["Daily", "Weekly", "Monthly", "Total"], place: tzinfo, now: int) -> Period:
    local = datetime.fromtimestamp(now, place)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    match kind:
        case "Daily":
            return Period(f"{local:%Y-%m-%d}", _unix(midnight), _unix(midnight + timedelta(days=1)))
        case "Weekly":
            monday = midnight - timedelta(days=midnight.weekday())
            return Period(f"{monday:%G-W%V}", _unix(monday), _unix(monday + timedelta(weeks=1)))
        case "Monthly":
            first = midnight.replace(day=1)
            following = (first + timedelta(days=32)).replace(day=1)
            return Period(f"{local:%Y-%m}", _unix(first), _unix(following))
        case "Total":
            return Period("total", None, None)


def end_of_day(budget: Budget, day: str) -> int | None:
    """Unix seconds of the first moment after `day`, such as 2030-12-31; `None` where it is no day."""
    return _end_of_day(day, zone(budget) or UTC)


@lru_cache(maxsize=1024)
def _end_of_day(day: str, place: tzinfo) -> int | None:
    if not _DAY.fullmatch(day):
        return None  # Python reads more forms than these
    try:
        after = date.fromisoformat(day) + timedelta(days=1)
        return _unix(datetime(after.year, after.month, after.day, tzinfo=place))
    except (ValueError, OverflowError):
        return None


def _unix(local: datetime) -> int:
    return int(local.timestamp())
