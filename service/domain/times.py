"""Times: aware UTC datetimes inside, integer microseconds in rows, RFC 3339 outside."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_microseconds(at: datetime) -> int:
    """Return ``at`` (aware) as microseconds since 1970-01-01 UTC, exactly."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the aware UTC time of ``microseconds`` since 1970-01-01 UTC, exactly."""
    return _EPOCH + timedelta(microseconds=microseconds)


def format_time(at: datetime) -> str:
    """Return ``at`` in RFC 3339, UTC, with microseconds only where there are any."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_time(text: str, *, timezone: str) -> datetime:
    """Return an RFC 3339 time, or the first moment of a date (``2026-11-22``) in ``timezone``, in UTC.

    Raises:
        ValueError: ``text`` is neither, or has no offset.
    """
    if len(text) == len("2026-11-22"):
        midnight = datetime.combine(date.fromisoformat(text), time(), ZoneInfo(timezone))
        return midnight.astimezone(UTC)
    at = datetime.fromisoformat(text.upper())
    if at.tzinfo is None:
        raise ValueError("the time has no offset from UTC")
    return at.astimezone(UTC)
