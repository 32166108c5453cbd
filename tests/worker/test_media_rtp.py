"""The sound in captures: every direction a channel, every packet at its time, whatever else is in the file."""

import random
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.worker.media import rtp
from service.worker.media.decode import NotDecodableError
from service.worker.media.facts import MediaFlag
from service.worker.media.rtp import read_sound
from service.worker.media.run import examine
from tests.captures import AGENT, TO_AGENT, capture, packet, talk
from tests.worker.test_media_child import Held

PCAPS = (
    Path(__file__).resolve().parents[2].parent / "shared" / "samples" / "rtpengine" / "pcaps"
)
SILENT = 0xD5
THEIRS = {"source": AGENT, "to": TO_AGENT}


def sound_of(data):
    return read_sound(lambda at, length: data[at : at + length], len(data))


def channels(sound, count=2):
    return [sound.samples[one::count] for one in range(count)]


def test_both_sides_stand_where_they_were_captured_also_with_one_ssrc():
    packets = talk(1, code=1) + talk(1, at=0.5, stamp=9_000_000, code=2, **THEIRS)
    sound = sound_of(capture(sorted(packets)))
    left, right = channels(sound)
    assert left == b"\x01" * 8000 + bytes([SILENT]) * 4000
    assert right == bytes([SILENT]) * 4000 + b"\x02" * 8000
    assert not sound.problems
    assert not sound.is_truncated


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_captures_of_either_byte_order_and_clock_are_read(order, nano):
    sound = sound_of(capture(talk(0.1), order=order, nano=nano))
    assert sound.samples == b"\x55" * 800


@pytest.mark.parametrize(
    ("link", "before"),
    [
        (1, b"\0" * 12 + b"\x08\0"),
        (1, b"\0" * 12 + b"\x81\0\0\x05\x08\0"),
        (12, b""),
        (113, b"\0" * 14 + b"\x08\0"),
        (276, b"\x08\0" + b"\0" * 18),
    ],
)
def test_captures_of_several_links_are_read(link, before):
    made = capture([(at, before + one) for at, one in talk(0.1)], link=link)
    assert sound_of(made).samples == b"\x55" * 800


def test_ipv6_is_read():
    udp = packet(0, b"\x11" * 160)[20:]
    head = struct.pack(">IHBB", 6 << 28, len(udp), 17, 64) + b"\x20" * 32
    assert sound_of(capture([(0, head + udp)])).samples == b"\x11" * 160


def test_order_and_repetition_do_not_matter_and_what_is_missing_is_silence():
    packets = talk(2, code=1)
    del packets[40:80]
    mixed = packets + packets[5:9]
    # As captured, a little late: the order of RTP counts.
    random.Random(1).shuffle(mixed)  # noqa: S311  # an order like any other
    late = [(n * 0.001, one) for n, (_, one) in enumerate(sorted(mixed, key=lambda p: p[0]))]
    sound = sound_of(capture(late))
    assert sound.samples == b"\x01" * 6400 + bytes([SILENT]) * 6400 + b"\x01" * 3200
    assert sound.problems == {"time_stamp_gaps"}


def test_a_clock_that_passes_its_end_goes_on():
    sound = sound_of(capture(talk(1, stamp=2**32 - 4000)))
    assert sound.samples == b"\x55" * 8000


def test_a_stream_that_begins_anew_stands_where_it_was_captured():
    packets = talk(1, code=1) + talk(1, at=20, stamp=5, code=2) + talk(1, at=30, ssrc=9, code=3)
    sound = sound_of(capture(packets))
    assert len(sound.samples) == 31 * 8000
    assert sound.samples[20 * 8000 : 21 * 8000] == b"\x02" * 8000
    assert sound.samples[30 * 8000 :] == b"\x03" * 8000


def test_a_side_that_goes_on_from_elsewhere_stays_in_its_channel():
    elsewhere = {"source": (AGENT[0], 7500), "to": (TO_AGENT[0], 30050)}
    packets = talk(3, code=1) + talk(1, code=2, **THEIRS) + talk(1, at=2, code=3, **elsewhere)
    left, right = channels(sound_of(capture(sorted(packets))))
    assert left == b"\x01" * 24000
    assert right == b"\x02" * 8000 + bytes([SILENT]) * 8000 + b"\x03" * 8000


def test_three_who_speak_at_once_have_three_channels():
    third = {"source": ("10.0.0.3", 9000), "to": ("10.0.0.9", 30020)}
    packets = talk(1, code=1) + talk(1, code=2, **THEIRS) + talk(1, code=3, **third)
    sound = sound_of(capture(sorted(packets)))
    assert [one[0] for one in channels(sound, 3)] == [1, 2, 3]


def test_both_laws_in_one_call_become_linear():
    packets = talk(0.1, kind=8, code=SILENT) + talk(0.1, kind=0, code=0xFF, **THEIRS)
    sound = sound_of(capture(sorted(packets)))
    assert struct.unpack("<HHIIHH", sound.fmt) == (1, 2, 8000, 32000, 4, 16)
    assert struct.unpack("<hh", sound.samples[:4]) == (8, 0)


# ITU-T G.711, tables 1a and 2a: the first and last decision values, as decoded values of 16 bits.
@pytest.mark.parametrize(
    ("table", "code", "sample"),
    [
        (rtp._PCMA, 0xD5, 8),
        (rtp._PCMA, 0x55, -8),
        (rtp._PCMA, 0xAA, 32256),
        (rtp._PCMA, 0x2A, -32256),
        (rtp._PCMU, 0xFF, 0),
        (rtp._PCMU, 0x80, 32124),
        (rtp._PCMU, 0x00, -32124),
    ],
)
def test_the_codes_of_g711(table, code, sample):
    assert struct.unpack("<h", rtp._linear(bytes([code]), table, 1)) == (sample,)


def test_g722_is_decoded_at_its_own_rate():
    sound = sound_of(capture(talk(0.2, kind=9, code=0)))
    assert struct.unpack("<HHII", sound.fmt[:12]) == (1, 1, 16000, 32000)
    assert sound.size_bytes == 0.2 * 16000 * 2


def test_events_noise_rtcp_padding_extensions_and_contributors_are_no_sound():
    padded = packet(160, b"\x02" * 160 + b"\0\0\0\x04", first=0xA0)
    extended = packet(320, b"\x03" * 160, first=0x90, head=b"\xbe\xde\0\x01" + b"\0" * 4)
    mixed = packet(480, b"\x04" * 160, first=0x82, head=b"\0" * 8)
    others = [
        packet(0, b"\x05" * 4, kind=101, ssrc=5),
        packet(0, b"\x06", kind=13, ssrc=6),
        packet(0, b"\x07" * 24, kind=0x80 | 72),
        packet(0, b"", kind=8),
        packet(0, b"x" * 9, first=0x40),
    ]
    made = [packet(0, b"\x01" * 160), padded, extended, mixed, *others]
    sound = sound_of(capture((n * 0.001, one) for n, one in enumerate(made)))
    assert sound.samples == b"".join(bytes([n]) * 160 for n in (1, 2, 3, 4))
    assert not sound.problems


def test_what_nobody_here_decodes_is_told():
    with pytest.raises(NotDecodableError, match="codec_unsupported"):
        sound_of(capture(talk(1, kind=111)))
    sound = sound_of(capture(sorted(talk(1) + talk(1, kind=111, **THEIRS))))
    assert sound.problems == {"codec_unsupported"}
    with pytest.raises(NotDecodableError, match="no_sound"):
        sound_of(capture([]))


def test_a_call_that_lasts_for_ever_does_not_fill_the_memory():
    with pytest.raises(NotDecodableError, match="sound_too_long"):
        sound_of(capture(talk(0.1) + talk(0.1, at=10 * 86_400, ssrc=8)))
    with pytest.raises(NotDecodableError, match="too_many_channels"):
        sound_of(
            capture(
                sorted(one for n in range(40) for one in talk(0.1, to=("10.0.0.9", 30000 + n)))
            )
        )


def test_too_many_directions_are_not_all_compared_with_each_other(monkeypatch):
    compared = []

    def counted(before, one, has_ended=rtp._has_ended):
        compared.append(one)
        return has_ended(before, one)

    monkeypatch.setattr(rtp, "_has_ended", counted)
    several = [one for n in range(400) for one in talk(0.04, to=("10.0.0.9", 30000 + n))]
    with pytest.raises(NotDecodableError, match="too_many_channels"):
        sound_of(capture(sorted(several)))
    assert 0 < len(compared) <= rtp.MAX_CHANNELS**2


def test_a_capture_that_was_cut_gives_what_is_there():
    whole = capture(talk(1))
    sound = sound_of(whole[:-100])
    assert sound.is_truncated
    assert len(sound.samples) == 49 * 160


@given(st.binary(max_size=400))
def test_anything_behind_a_header_is_a_sound_or_none(data):
    for made in (capture([])[:24] + data, capture([(0, data), (1, data[::-1])])):
        try:
            assert sound_of(made).size_bytes
        except NotDecodableError:
            continue


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=20))
def test_damage_anywhere_costs_no_more_than_what_it_hits(hits):
    made = bytearray(capture(sorted(talk(0.1) + talk(0.1, **THEIRS))))
    for place, value in hits:
        made[24 + place % (len(made) - 24)] = value
    # A time stamp that was hit may be far away: silence as long as that would cost the test its time.
    with pytest.MonkeyPatch.context() as patched, suppress(NotDecodableError):
        patched.setattr(rtp, "MAX_SOUND_BYTES", 1024**2)
        assert sound_of(bytes(made)).size_bytes <= 1024**2


async def examined(data):
    written = bytearray()

    async def sink(piece):
        written.extend(piece)

    result = await examine(Held(data), content_type="", name="x.pcap", sink=sink)
    return result, bytes(written)


async def test_a_capture_has_a_playable_copy_and_a_waveform_of_both_sides():
    loud = sorted(talk(1, code=0xAA) + talk(1, at=0.5, code=0x2A, **THEIRS))
    result, written = await examined(capture(loud))
    facts = result.facts
    assert (facts.container, facts.codec, facts.channels) == ("pcap", "pcm_alaw", 2)
    assert facts.duration.total_seconds() == 1.5
    assert not facts.flags
    assert result.rendition is not None
    assert struct.unpack("<hh", written[44:48]) == (32256, 8)
    assert result.peaks is not None


async def test_sound_that_is_missing_is_a_gap_and_no_fault_of_the_file():
    packets = talk(2)
    del packets[30:70]
    result, _ = await examined(capture(packets))
    assert result.facts.flags == {MediaFlag.GAPS}


@pytest.mark.parametrize("number", [0, 1])
async def test_the_calls_that_were_captured_from_rtpengine(number):
    if not PCAPS.is_dir():
        pytest.skip("the captures of rtpengine are absent (shared samples)")
    result, written = await examined(sorted(PCAPS.iterdir())[number].read_bytes())
    assert (result.facts.channels, result.facts.flags) == (2, frozenset())
    assert abs(result.facts.duration.total_seconds() - 7.08) < 0.01
    samples = struct.unpack(f"<{(len(written) - 44) // 2}h", written[44:])
    for side in (samples[0::2], samples[1::2]):
        assert sum(map(abs, side)) / len(side) > 500
