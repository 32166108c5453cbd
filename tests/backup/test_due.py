"""When a backup is due and when it is late."""

from datetime import UTC, datetime, timedelta
from math import isnan
from zoneinfo import ZoneInfo

import pytest

from service.backup.due import age_of, is_due, is_late

HELSINKI = ZoneInfo("Europe/Helsinki")


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=HELSINKI).astimezone(UTC)


@pytest.mark.parametrize(
    ("newest", "now", "due"),
    [
        pytest.param(None, "2026-11-22T14:00", True, id="there is none"),
        pytest.param("2026-11-22T02:05", "2026-11-22T14:00", False, id="made this night"),
        pytest.param("2026-11-21T02:05", "2026-11-22T01:59", False, id="not the hour yet"),
        pytest.param("2026-11-21T02:05", "2026-11-22T02:00", True, id="the hour has come"),
        pytest.param(
            "2026-11-21T14:00", "2026-11-22T02:01", True, id="made by hand in the day"
        ),
        pytest.param("2026-11-15T02:05", "2026-11-22T01:00", True, id="the machine was off"),
        pytest.param("2026-10-25T02:59", "2026-10-25T23:00", False, id="the longer day"),
        pytest.param(
            "2026-03-28T02:30", "2026-03-29T04:30", True, id="the hour does not exist"
        ),
    ],
)
def test_a_backup_is_due_once_the_hour_has_come(newest, now, due):
    made = None if newest is None else at(newest)
    assert is_due(made, now=at(now), hour=2, timezone=HELSINKI) is due


def test_it_is_late_after_26_hours():
    now, hours = at("2026-11-22T12:00"), timedelta(hours=1)
    assert not is_late(now - 26 * hours, now=now, begun_at=now)
    assert is_late(now - 27 * hours, now=now, begun_at=now)


def test_without_any_the_time_since_the_start_counts():
    now, hours = at("2026-11-22T12:00"), timedelta(hours=1)
    assert not is_late(None, now=now, begun_at=now - 26 * hours)
    assert is_late(None, now=now, begun_at=now - 27 * hours)


def test_the_age_of_none_is_no_number():
    now = at("2026-11-22T12:00")
    assert isnan(age_of(None, now=now))
    assert age_of(now - timedelta(minutes=1), now=now) == 60
