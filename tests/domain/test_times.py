"""Times are read strictly and kept exactly."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.times import (
    format_time,
    from_microseconds,
    parse_rfc3339,
    parse_time,
    resolve_local,
    to_microseconds,
)

HELSINKI = "Europe/Helsinki"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-22T14:02:00+02:00", "2026-11-22T12:02:00Z"),
        ("2026-11-22T12:02:00Z", "2026-11-22T12:02:00Z"),
        ("2026-11-22t12:02:00z", "2026-11-22T12:02:00Z"),
        ("2026-11-22T12:02:00-00:00", "2026-11-22T12:02:00Z"),
        ("2026-11-22T12:02:00.123456Z", "2026-11-22T12:02:00.123456Z"),
        ("2026-11-22T12:02:00.123456789Z", "2026-11-22T12:02:00.123456Z"),
        ("2026-11-22T12:02:00.5Z", "2026-11-22T12:02:00.500000Z"),
        pytest.param("2016-12-31T23:59:60Z", "2016-12-31T23:59:59Z", id="leap second"),
        pytest.param("2026-10-25T03:30:00+03:00", "2026-10-25T00:30:00Z", id="before the fold"),
        pytest.param("2026-10-25T03:30:00+02:00", "2026-10-25T01:30:00Z", id="after the fold"),
    ],
)
def test_an_rfc_3339_time_becomes_utc(text, utc):
    assert format_time(parse_rfc3339(text)) == utc
    assert parse_rfc3339(utc) == parse_rfc3339(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-22",
        "2026-11-22T14:02:00",
        "2026-11-22 14:02:00+02:00",
        "2026-11-22T14:02+02:00",
        "2026-11-22T14:02:00+0200",
        "2026-11-22T14:02:00+02",
        "2026-11-22T14:02:00,5Z",
        "2026-11-22T14:02:00 Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T14:60:00Z",
        "2026-11-22T14:02:61Z",
        "2026-02-30T14:02:00Z",
        "2026-11-22T14:02:00+24:00",
        "2026-W47-1T14:02:00Z",
        "20261122T140200Z",
        "10000-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+02:00",
        "9999-12-31T23:59:59-02:00",
        "٢٠٢٦-11-22T14:02:00Z",
        "2026-11-22T14:02:00Z\n",
        "1795269600",
        "Sun, 22 Nov 2026 14:02:00 +0200",
    ],
)
def test_another_form_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_rfc3339(text)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-11-22", "2026-11-21T22:00:00Z"),
        ("2026-07-01", "2026-06-30T21:00:00Z"),
        pytest.param("2026-03-29", "2026-03-28T22:00:00Z", id="the clocks go forward that day"),
        pytest.param("2026-03-30", "2026-03-29T21:00:00Z", id="and have gone"),
        pytest.param("2026-10-25", "2026-10-24T21:00:00Z", id="the clocks go back that day"),
        pytest.param("2026-10-26", "2026-10-25T22:00:00Z", id="and have gone back"),
        ("2026-11-22T14:02:00+02:00", "2026-11-22T12:02:00Z"),
    ],
)
def test_a_date_begins_at_its_midnight_there(text, utc):
    assert format_time(parse_time(text, timezone=HELSINKI)) == utc


@pytest.mark.parametrize("text", ["2026-W47-7", "20261122", "2026-11-31", "2026-1-1", "today"])
def test_another_form_of_a_date_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_time(text, timezone=HELSINKI)


@given(st.datetimes(timezones=st.just(UTC)))
def test_microseconds_and_text_lose_nothing(at):
    assert from_microseconds(to_microseconds(at)) == at
    assert parse_rfc3339(format_time(at)) == at


@given(st.text(alphabet="0123456789TZ:+-. tz", max_size=40))
def test_no_text_breaks_the_parser(text):
    try:
        assert parse_time(text, timezone=HELSINKI).tzinfo is UTC
    except ValueError:
        return


def test_times_before_1970_are_negative():
    assert to_microseconds(datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)) == -1
    assert to_microseconds(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=1)) == 1


@pytest.mark.parametrize(
    ("local", "utc", "is_certain"),
    [
        ("2026-11-22T14:00:00", "2026-11-22T12:00:00Z", True),
        ("2026-10-25T03:30:00", "2026-10-25T00:30:00Z", False),  # twice: summer time first
        ("2026-10-25T04:00:00", "2026-10-25T02:00:00Z", True),
        ("2026-03-29T03:30:00", "2026-03-29T01:30:00Z", False),  # skipped
        ("2026-03-29T04:00:00", "2026-03-29T01:00:00Z", True),
    ],
)
def test_a_local_time_is_resolved_and_doubt_is_told(local, utc, is_certain):
    resolved = resolve_local(datetime.fromisoformat(local), ZoneInfo(HELSINKI))
    assert resolved == (parse_rfc3339(utc), is_certain)
