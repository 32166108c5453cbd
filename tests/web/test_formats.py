from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from service.web.formats import Formats
from service.web.unseen import mark_unseen

HELSINKI = ZoneInfo("Europe/Helsinki")
FI, SV, EN = (Formats(language, HELSINKI) for language in ("fi", "sv", "en"))
CALL = datetime(2026, 9, 3, 11, 2, tzinfo=UTC)


def plain(text):
    """Spaces of every kind as one kind."""
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_a_moment_is_written_as_readers_of_the_language_write_it():
    assert FI.moment(CALL) == "3.9.2026 klo 14.02"
    assert SV.moment(CALL) == "3.9.2026 kl. 14.02"
    assert EN.moment(CALL) == "3 Sep 2026, 14:02"


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (datetime(2026, 10, 24, 23, 59, tzinfo=UTC), "25.10.2026 klo 2.59"),
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "25.10.2026 klo 3.30 (UTC+3)"),
        (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), "25.10.2026 klo 3.30 (UTC+2)"),
        (datetime(2026, 10, 25, 2, 0, tzinfo=UTC), "25.10.2026 klo 4.00"),
        (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), "29.3.2026 klo 4.00"),
    ],
)
def test_the_hour_that_happens_twice_says_which_one_it_is(at, expected):
    assert FI.moment(at) == expected


@pytest.mark.parametrize(
    ("lasts", "expected"),
    [
        (timedelta(minutes=9), "3.9.2026 klo 14.02\N{EN DASH}14.11"),
        (timedelta(hours=12), "3.9.2026 klo 14.02 \N{EN DASH} 4.9.2026 klo 2.02"),
        (timedelta(seconds=20), "3.9.2026 klo 14.02"),
    ],
)
def test_a_span_does_not_repeat_its_date(lasts, expected):
    assert FI.span(CALL, CALL + lasts) == expected


def test_a_span_without_an_end_is_a_moment():
    assert FI.span(CALL, None) == FI.moment(CALL)


@pytest.mark.parametrize(
    ("seconds", "duration", "position"),
    [
        (0, "0 s", "0.00"),
        (4.4, "4 s", "0.04"),
        (60, "1 min", "1.00"),
        (552, "9 min 12 s", "9.12"),
        (3723, "1 h 2 min 3 s", "1.02.03"),
        (7200, "2 h", "2.00.00"),
    ],
)
def test_durations_and_positions_are_exact_to_the_second(seconds, duration, position):
    assert plain(FI.duration(timedelta(seconds=seconds))) == duration
    assert FI.position(timedelta(seconds=seconds)) == position


def test_numbers_have_the_decimal_mark_of_the_language():
    assert (FI.number(1.25), EN.number(1.25)) == ("1,25", "1.25")
    assert (plain(FI.size(1_234_567)), EN.size(1_234_567)) == ("1,2 Mt", "1.2\u00a0MB")
    assert plain(FI.size(12)) == "1 kt"


@pytest.mark.parametrize(
    ("e164", "expected"),
    [
        ("+358401234567", "+358 40 123 4567"),
        ("+358201234567", "+358 20 1234567"),
        ("+46701234567", "+46 70 123 45 67"),
        ("anonymous", "anonymous"),
        ("", ""),
    ],
)
def test_a_telephone_number_can_be_read_aloud(e164, expected):
    assert plain(FI.phone(e164)).replace(" ", "") == expected.replace(" ", "")
    assert all(len(group) <= 5 for group in plain(FI.phone(e164)).split()[1:])


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("lasku\u202efdp.exe", 'lasku<span class="unseen">U+202E</span>fdp.exe'),
        ("a\u200bb", 'a<span class="unseen">U+200B</span>b'),
        ("\ufeff", '<span class="unseen">U+FEFF</span>'),
        (
            "\x00\x1b[2J",
            '<span class="unseen">U+0000</span><span class="unseen">U+001B</span>[2J',
        ),
        ("a\u00adb", 'a<span class="unseen">U+00AD</span>b'),
        ("\U000e0041", '<span class="unseen">U+E0041</span>'),
        ("a\u200db", 'a<span class="unseen">U+200D</span>b'),
        ("👩\u200d🔧", "👩\u200d🔧"),
        ("rivi\r\ntoinen\tsarake", "rivi\ntoinen\tsarake"),
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("ääkköset åäö", "ääkköset åäö"),
        (None, ""),
    ],
)
def test_characters_that_hide_are_shown_and_markup_is_text(text, markup):
    assert str(mark_unseen(text)) == markup
