"""Times: aware UTC datetimes inside, integer microseconds in rows, RFC 3339 outside."""

import re
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# RFC 3339, section 5.6. Python alone would also take weeks, missing offsets and other separators.
_RFC3339 = re.compile(
    r"\d{4}-\d\d-\d\d[Tt](?:[01]\d|2[0-3]):[0-5]\d:(?:[0-5]\d|60)(?:\.\d{1,12})?"
    r"(?:[Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_LEAP_SECOND = re.compile(r"(T\d\d:\d\d):60")
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
        ValueError: ``text`` is neither, has no offset, or lies outside of the years 1 to 9999.
    """
    if _DATE.fullmatch(text):
        midnight = datetime.combine(date.fromisoformat(text), time(), ZoneInfo(timezone))
        return _to_utc(midnight)
    return parse_rfc3339(text)


def resolve_local(local: datetime, timezone: ZoneInfo) -> tuple[datetime, bool]:
    """Return the naive ``local`` time of ``timezone`` in UTC, and whether it was on the clocks once exactly.

    In the hour that an autumn night has twice, the first is taken; in the one that a spring night skips, what clocks
    that were not changed showed. For both the answer is no.

    Raises:
        ValueError: It lies outside of the years 1 to 9999.
    """
    first, second = (local.replace(tzinfo=timezone, fold=fold) for fold in (0, 1))
    return _to_utc(first), first.utcoffset() == second.utcoffset()


def parse_rfc3339(text: str) -> datetime:
    """Return an RFC 3339 time in UTC, to the microsecond.

    A leap second (``:60``, RFC 3339, appendix D) becomes the second before it.

    Raises:
        ValueError: ``text`` is none, or lies outside of the years 1 to 9999.
    """
    if not _RFC3339.fullmatch(text):
        raise ValueError("not a time such as 2026-11-22T14:02:00+02:00")
    return _to_utc(datetime.fromisoformat(_LEAP_SECOND.sub(r"\1:59", text.upper())))


def _to_utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("outside of the years 1 to 9999") from error
