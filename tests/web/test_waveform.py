import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.contact import PartyRole
from service.web.viewmodels import lane_names
from service.web.waveform import LANE_HEIGHT, draw_lanes

BAR = re.compile(r"M(\d+)\.5 ([\d.]+)v([\d.]+)")


def bars(lane):
    return [(int(x), float(top), float(height)) for x, top, height in BAR.findall(lane.path)]


def test_every_channel_has_a_lane_of_equal_length():
    left, right = draw_lanes((bytes(4000), bytes(range(250)) * 16))
    assert left.bars == right.bars == len(bars(left)) == len(bars(right)) == 240


def test_silence_is_a_line_and_the_loudest_sound_fills_its_lane():
    silent, loud = draw_lanes((bytes(100), bytes([0] * 99 + [120])))
    assert {height for _, _, height in bars(silent)} == {1.0}
    assert bars(loud)[-1] == (99, 0.0, float(LANE_HEIGHT))


def test_one_loud_moment_in_a_long_call_can_still_be_seen():
    quiet = bytearray(b"\x03" * 4000)
    quiet[2777] = 255
    (lane,) = draw_lanes((bytes(quiet),))
    assert max(height for _, _, height in bars(lane)) == LANE_HEIGHT


def test_no_channel_and_no_sound_draw_nothing():
    assert draw_lanes(()) == ()
    (lane,) = draw_lanes((b"",))
    assert (lane.path, lane.bars) == ("", 1)


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=1000), max_size=4))
def test_nothing_is_drawn_outside_of_its_lane(channels):
    for lane in draw_lanes(channels):
        for x, top, height in bars(lane):
            assert 0 <= x < lane.bars
            assert top >= 0
            assert top + height <= LANE_HEIGHT + 0.1


@pytest.mark.parametrize(
    ("channels", "lanes", "names"),
    [
        ((PartyRole.CUSTOMER, PartyRole.AGENT), 2, ("customer", "agent")),
        ((None, None), 2, ("first", "second")),
        ((), 3, ("first", "second", "more")),
        ((PartyRole.CUSTOMER,), 2, ("first", "second")),
        ((PartyRole.CUSTOMER,), 1, ("all",)),
        ((), 0, ("all",)),
    ],
)
def test_a_lane_is_called_after_its_speaker_only_when_that_is_known(channels, lanes, names):
    assert lane_names(channels, lanes) == names
