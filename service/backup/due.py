"""When a backup is due, and when one is late: pure rules."""

from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

LATE_AFTER: Final = timedelta(hours=26)
"""A day, and time enough to make one."""


def is_due(newest_at: datetime | None, *, now: datetime, hour: int, timezone: ZoneInfo) -> bool:
    """Tell whether ``hour`` of the day has come since the newest backup was made; without one it always has."""
    if newest_at is None:
        return True
    local = now.astimezone(timezone)
    begun = datetime.combine(local.date(), time(hour), timezone)
    if begun > local:
        begun = datetime.combine(local.date() - timedelta(days=1), time(hour), timezone)
    return newest_at < begun


def is_late(newest_at: datetime | None, *, now: datetime, begun_at: datetime) -> bool:
    """Tell whether the newest backup is older than it should be; without one, since the service began."""
    return now - (newest_at or begun_at) > LATE_AFTER


def age_of(newest_at: datetime | None, *, now: datetime) -> float:
    """Return how many seconds old the newest backup is; NaN, which is no number, when there is none."""
    return float("nan") if newest_at is None else (now - newest_at).total_seconds()
