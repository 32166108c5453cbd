"""Facts come from the sound; a claim that differs is kept apart and called what it is."""

from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import InvalidInputError
from service.worker.media.facts import (
    MediaFacts,
    MediaFlag,
    decode_facts,
    encode_facts,
    unreadable,
)
from service.worker.media.judge import decide_facts

TEXT = st.text(st.characters(codec="ascii"), max_size=64)
DURATIONS = st.timedeltas(min_value=timedelta(0))
FACTS = st.builds(
    MediaFacts,
    container=TEXT,
    codec=TEXT,
    channels=st.integers(0, 64),
    sample_rate_hz=st.integers(0, 400_000),
    duration=DURATIONS,
    claimed_duration=st.none() | DURATIONS,
    flags=st.frozensets(st.sampled_from(MediaFlag)),
    problems=st.lists(TEXT, max_size=5).map(tuple),
    is_browser_playable=st.booleans(),
)


@given(facts=FACTS)
def test_facts_read_back_exactly(facts):
    assert decode_facts(encode_facts(facts)) == facts


GOOD = encode_facts(unreadable("format_unknown"))


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"{}", id="no members"),
        pytest.param(b"[" * 100_000, id="a deep list"),
        pytest.param(GOOD.replace(b'"version": 1', b'"version": 2'), id="another version"),
        pytest.param(GOOD.replace(b'"channels": 0', b'"channels": true'), id="a boolean"),
        pytest.param(GOOD.replace(b'"channels": 0', b'"channels": -1'), id="a negative number"),
        pytest.param(GOOD.replace(b'"duration": 0', b'"duration": 1e400'), id="infinity"),
        pytest.param(GOOD.replace(b'"duration": 0', b'"duration": %d' % 10**30), id="ages"),
        pytest.param(GOOD.replace(b'"unreadable"', b'"unknowable"'), id="an unknown flag"),
        pytest.param(GOOD.replace(b"format_unknown", b"x" * 65), id="a long text"),
        pytest.param(GOOD.replace(b'"codec": ""', b'"codec": "\\u00e4"'), id="not ASCII"),
        pytest.param(GOOD + b" ", id="a space at the end"),
        pytest.param(GOOD.replace(b'"channels": 0', b'"channels":  0'), id="a space inside"),
        pytest.param(GOOD.replace(b"{", b'{"extra": 1, ', 1), id="one member more"),
    ],
)
def test_other_bytes_are_refused(encoded):
    with pytest.raises(InvalidInputError):
        decode_facts(encoded)


def decide(**changes):
    known = {
        "container": "wav",
        "codec": "pcm_s16le",
        "channels": 2,
        "sample_rate_hz": 8000,
        "seconds": Fraction(60),
        "claimed": Fraction(60),
        "problems": frozenset(),
        "is_truncated": False,
        "is_complete": True,
    }
    return decide_facts(**(known | changes))


def test_a_sound_recording_has_no_flags():
    facts = decide()
    assert (facts.flags, facts.duration) == (frozenset(), timedelta(seconds=60))
    assert facts.is_browser_playable


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        pytest.param({"claimed": Fraction(59)}, set(), id="within two per cent"),
        pytest.param(
            {"seconds": Fraction(1), "claimed": Fraction(3, 2)}, set(), id="half a second"
        ),
        pytest.param({"claimed": None}, set(), id="no claim"),
        pytest.param({"claimed": Fraction(6)}, {"header_lies"}, id="claims less"),
        pytest.param(
            {"claimed": Fraction(600)}, {"header_lies", "truncated"}, id="claims more"
        ),
        pytest.param({"claimed": Fraction(10**30)}, {"header_lies", "truncated"}, id="aeons"),
        pytest.param({"is_truncated": True}, {"truncated"}, id="cut off"),
        pytest.param({"problems": frozenset({"sound_damaged"})}, {"malformed"}, id="damaged"),
        pytest.param({"problems": frozenset({"time_stamp_gaps"})}, {"gaps"}, id="gaps"),
        pytest.param({"seconds": Fraction(0), "claimed": None}, {"empty"}, id="no sound"),
        pytest.param(
            {"seconds": Fraction(0), "claimed": None, "problems": frozenset({"sound_damaged"})},
            {"unreadable", "malformed"},
            id="nothing decodable",
        ),
        pytest.param(
            {"is_complete": False, "claimed": Fraction(9999)},
            {"limit_reached"},
            id="stopped at a limit, so the claim cannot be judged",
        ),
    ],
)
def test_flags_follow_from_claims_and_sound(changes, flags):
    assert decide(**changes).flags == flags


@pytest.mark.parametrize(
    ("changes", "is_playable"),
    [
        ({"container": "ogg", "codec": "opus"}, True),
        ({"container": "mp4", "codec": "aac"}, True),
        ({"container": "mp3", "codec": "mp3"}, True),
        ({"container": "webm", "codec": "opus"}, True),
        ({"container": "webm", "codec": "opus", "claimed": None}, False),
        ({"codec": "gsm_ms"}, False),
        ({"codec": "pcm_alaw"}, False),
        ({"codec": "pcm_mulaw"}, False),
        ({"container": "amr", "codec": "amr_nb"}, False),
        ({"container": "aac", "codec": "aac"}, False),
        ({"problems": frozenset({"wav.trailing_bytes"})}, False),
        ({"problems": frozenset({"time_stamp_gaps"})}, True),
        ({"claimed": Fraction(600)}, False),
        ({"seconds": Fraction(0), "claimed": Fraction(0)}, False),
    ],
)
def test_only_what_every_browser_plays_and_seeks_is_called_playable(changes, is_playable):
    assert decide(**changes).is_browser_playable is is_playable
