"""Pauses of a recording grow with what is told, in whichever order, and have their place on its time line."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import Channel, ContactFacts, Direction, decide_amendment
from service.domain.pauses import (
    MAX_PAUSES,
    PausePlace,
    RecordingPause,
    merge_pauses,
    place_pause,
)
from tests.domain.test_contact import EMPTY

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


def after(seconds):
    return AT + timedelta(seconds=seconds)


def pause(start=60, end=90, **more):
    ended_at = None if end is None else after(end)
    told = {"recording": "call.wav", "reason": "card_payment", **more}
    return RecordingPause(started_at=after(start), ended_at=ended_at, **told)


def test_a_pause_whose_end_is_told_later_is_one():
    begun, whole = pause(end=None), pause(who="Aku")
    for told in ([begun, whole], [whole, begun]):
        pauses = ()
        for one in told:
            pauses, is_contradicted = merge_pauses(pauses, [one])
            assert not is_contradicted
        assert pauses == (whole,)


def test_pauses_are_in_the_order_of_time():
    later, first, other = pause(200, 210), pause(), pause(recording="b.wav")
    assert merge_pauses((later,), (first, other))[0] == (other, first, later)


@pytest.mark.parametrize(
    "other",
    [
        pause(end=91),
        pause(reason="hold"),
        pause(who="Anna"),
        pause(start_seconds=3.0, end_seconds=4.0),
    ],
)
def test_what_differs_contradicts_and_changes_nothing(other):
    known = pause(who="Aku", start_seconds=1.0, end_seconds=2.0)
    assert merge_pauses((known,), (other,)) == ((known,), True)


def test_too_many_pauses_are_left_out_and_said():
    known = tuple(pause(n, n + 1) for n in range(MAX_PAUSES))
    assert merge_pauses(known, known) == (known, False)
    assert merge_pauses(known, [pause(10**6, None)]) == (known, True)


@st.composite
def told(draw):
    """Deliveries that each tell a part of the same three pauses."""
    whole = [pause(10 * n, 10 * n + 5, who="Aku", start_seconds=1.0) for n in range(3)]
    parts = []
    for one in draw(st.lists(st.sampled_from(whole), max_size=6)):
        forgotten = draw(st.sets(st.sampled_from(["ended_at", "who", "start_seconds"])))
        parts.append(replace(one, **dict.fromkeys(forgotten)))
    return parts


@settings(max_examples=150)
@given(told(), st.randoms(use_true_random=False))
def test_the_order_in_which_pauses_are_told_does_not_matter(parts, chance):
    shuffled = [*parts, *parts]
    chance.shuffle(shuffled)
    one, other = EMPTY, EMPTY
    for part in parts:
        one = decide_amendment(
            one, ContactFacts(source_id="c-1", recording_pauses=(part,))
        ).contact
    for part in shuffled:
        other = decide_amendment(
            other, ContactFacts(source_id="c-1", recording_pauses=(part,))
        ).contact
    assert one == other


def test_a_contradiction_names_the_field_and_the_same_again_is_none():
    told = ContactFacts(
        source_id="c-1",
        channel=Channel.CALL,
        direction=Direction.INBOUND,
        recording_pauses=(pause(),),
    )
    amended = decide_amendment(EMPTY, told)
    assert (amended.changed, amended.contradictions) == (("recording_pauses",), ())
    again = decide_amendment(amended.contact, told)
    assert (again.changed, again.contradictions) == ((), ())
    other = replace(told, recording_pauses=(pause(reason="hold"),))
    assert decide_amendment(amended.contact, other).contradictions == ("recording_pauses",)


@pytest.mark.parametrize(
    ("given", "place"),
    [
        pytest.param(pause(), PausePlace(60, 90, is_exact=False), id="by the clock"),
        pytest.param(pause(end=None), PausePlace(60, 100, is_exact=False), id="never ended"),
        pytest.param(pause(end=200), PausePlace(60, 100, is_exact=False), id="ends later"),
        pytest.param(pause(-9, 5), PausePlace(0, 5, is_exact=False), id="begins earlier"),
        pytest.param(pause(-9, -5), None, id="before the recording"),
        pytest.param(pause(101, 120), None, id="after the recording"),
        pytest.param(
            pause(start_seconds=7.0, end_seconds=7.0),
            PausePlace(7, 7, is_exact=True),
            id="left out of the recording",
        ),
        pytest.param(
            pause(start_seconds=7.0, end_seconds=9.5),
            PausePlace(7, 9.5, is_exact=True),
            id="told",
        ),
        pytest.param(
            pause(end=None, start_seconds=7.0),
            PausePlace(7, 100, is_exact=True),
            id="told, and never ended",
        ),
        pytest.param(
            pause(start_seconds=7.0), PausePlace(7, 37, is_exact=False), id="half of it told"
        ),
    ],
)
def test_a_pause_has_its_place_in_the_recording(given, place):
    assert place_pause(given, call_started_at=AT, duration_seconds=100.0) == place
