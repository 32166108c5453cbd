"""What was sent and what was heard: never more than happened."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.archive.coverage import (
    MAX_INTERVALS,
    Heard,
    decide_heard,
    format_intervals,
    intersect,
    merge,
    parse_intervals,
    sent_milliseconds,
    subtract,
    take,
    total,
)

SECOND = 1_000_000
INTERVALS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8)


def points(intervals):
    return {i for start, stop in intervals for i in range(start, stop)}


def test_what_touches_becomes_one():
    assert merge([(5, 9), (0, 5), (20, 30), (25, 26), (7, 7)]) == ((0, 9), (20, 30))


@settings(max_examples=300, deadline=None)
@given(left=INTERVALS, right=INTERVALS, budget=st.integers(-1, 80))
def test_intervals_are_sets_of_points(left, right, budget):
    a, b = merge(left), merge(right)
    assert points(merge(a, b)) == points(left) | points(right)
    assert points(intersect(a, b)) == points(a) & points(b)
    assert points(subtract(a, b)) == points(a) - points(b)
    assert total(take(a, budget)) == min(max(budget, 0), total(a))
    assert points(take(a, budget)) <= points(a)
    assert parse_intervals(format_intervals(a)) == a


def test_too_many_pieces_are_left_out_and_never_joined():
    pieces = [(i * 10, i * 10 + 1 + i % 5) for i in range(1000)]
    kept = merge(pieces)
    assert len(kept) == MAX_INTERVALS
    assert points(kept) <= points(pieces)


@pytest.mark.parametrize(
    "text",
    ["5", "5-", "-5", "5-3", "0-5,3-9", "0-5,5-9", " 0-5", "0-5,", "a-b", "\u0661-\u0662"],
)
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match="intervals"):
        parse_intervals(text)


@pytest.mark.parametrize(
    "heard", [Heard((), 5), Heard(((0, 5), (7, 9)), 1_700_000_000_000_000)]
)
def test_what_was_heard_survives_being_kept(heard):
    assert Heard.parse(heard.format(), opened_at=1) == heard


def test_nothing_was_heard_before_the_first_report():
    assert Heard.parse("", opened_at=7) == Heard((), 7)


def test_bytes_are_spread_evenly_over_the_duration():
    assert sent_milliseconds([(0, 500)], size_bytes=1000, duration_ms=60_000) == ((0, 30_000),)
    assert sent_milliseconds([(0, 999)], size_bytes=999, duration_ms=60_000) == ((0, 60_000),)
    assert sent_milliseconds([(0, 10)], size_bytes=0, duration_ms=60_000) == ()


def test_what_was_not_sent_was_not_heard():
    heard = decide_heard(Heard((), 0), [(0, 60_000)], sent=[(0, 10_000)], now=600 * SECOND)
    assert heard.intervals == ((0, 10_000),)


def test_no_more_is_heard_than_the_clock_allows():
    heard = decide_heard(Heard((), 0), [(0, 60_000)], sent=[(0, 60_000)], now=5 * SECOND)
    assert heard.intervals == ((0, 10_000),)


def test_two_reports_at_once_count_once():
    first = decide_heard(Heard((), 0), [(0, 60_000)], sent=[(0, 60_000)], now=5 * SECOND)
    again = decide_heard(first, [(0, 60_000)], sent=[(0, 60_000)], now=5 * SECOND)
    assert again == first


def test_a_clock_that_goes_backwards_gives_nothing():
    known = Heard(((0, 1000),), 100 * SECOND)
    heard = decide_heard(known, [(0, 60_000)], sent=[(0, 60_000)], now=50 * SECOND)
    assert heard == known


def test_a_player_that_tells_everything_each_time_loses_nothing():
    heard = Heard((), 0)
    for second in range(5, 65, 5):
        heard = decide_heard(
            heard, [(0, second * 1000)], sent=[(0, 60_000)], now=second * SECOND
        )
    assert heard.intervals == ((0, 60_000),)


def test_what_was_heard_is_never_taken_back():
    known = Heard(((0, 5000),), 0)
    assert decide_heard(known, [], sent=[], now=SECOND).intervals == ((0, 5000),)


@settings(max_examples=300, deadline=None)
@given(told=INTERVALS, sent=INTERVALS, known=INTERVALS, now=st.integers(0, 10**5))
def test_whatever_a_player_tells_it_stays_within_what_happened(told, sent, known, now):
    before = Heard(merge(known), 0)
    after = decide_heard(before, told, sent=sent, now=now)
    gained = points(after.intervals) - points(before.intervals)
    assert gained <= points(sent) & points(told)
    assert len(gained) <= now // 1000 * 2
