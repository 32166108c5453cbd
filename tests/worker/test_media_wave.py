"""WAV files are walked chunk by chunk, and their claims are held against what is there."""

import io
import struct
import wave as stdlib_wave
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.worker.media.wave import NotWaveError, parse_wave, pcm_format, wave_header

MONO = pcm_format(channels=1, sample_rate_hz=8000)
SOUND = bytes(range(200)) * 80  # one second


def chunk(tag, content, length=None):
    size = len(content) if length is None else length
    return tag + struct.pack("<I", size) + content + b"\0" * (len(content) % 2)


def riff(*chunks, mark=b"RIFF"):
    body = b"WAVE" + b"".join(chunks)
    return mark + struct.pack("<I", len(body)) + body


def form(tag=1, channels=1, rate=8000, average=16000, align=2, bits=16):
    return struct.pack("<HHIIHH", tag, channels, rate, average, align, bits)


def parse(data):
    return parse_wave(lambda offset, length: data[offset : offset + length], len(data))


def sound_of(data):
    found = parse(data)
    return data[found.data_offset : found.data_offset + found.data_bytes]


def test_what_we_write_is_what_the_standard_library_reads():
    with stdlib_wave.open(io.BytesIO(wave_header(MONO, len(SOUND)) + SOUND)) as reader:
        assert reader.getparams()[:4] == (1, 2, 8000, 8000)
        assert reader.readframes(9000) == SOUND


@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_what_we_write_is_what_we_read(channels):
    sound = bytes(2 * channels * 10)
    fmt = pcm_format(channels=channels, sample_rate_hz=16000)
    found = parse(wave_header(fmt, len(sound)) + sound)
    assert (found.fmt, found.data_bytes) == (fmt, len(sound))
    assert found.claimed == Fraction(10, 16000)
    assert found.problems == ()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(riff(chunk(b"fmt ", MONO), chunk(b"data", SOUND)), id="plain"),
        pytest.param(
            riff(chunk(b"fmt ", MONO), chunk(b"LIST", b"INFOodd"), chunk(b"data", SOUND)),
            id="an odd list before the sound",
        ),
        pytest.param(
            riff(chunk(b"fmt ", MONO), chunk(b"data", SOUND), chunk(b"id3 ", b"after")),
            id="a chunk behind the sound",
        ),
        pytest.param(
            riff(
                chunk(b"ds64", struct.pack("<QQQI", 0, len(SOUND), 0, 0)),
                chunk(b"fmt ", MONO),
                chunk(b"data", SOUND, 0xFFFFFFFF),
                mark=b"RF64",
            ),
            id="64-bit lengths",
        ),
    ],
)
def test_a_well_formed_file_has_no_problems(data):
    found = parse(data)
    assert sound_of(data) == SOUND
    assert (found.claimed, found.is_truncated, found.problems) == (1, False, ())


def test_a_header_without_sound_is_well_formed():
    found = parse(riff(chunk(b"fmt ", MONO), chunk(b"data", b"")))
    assert (found.data_bytes, found.claimed, found.problems) == (0, 0, ())


def test_an_empty_data_chunk_before_others_is_empty_on_purpose():
    found = parse(riff(chunk(b"fmt ", MONO), chunk(b"data", b""), chunk(b"LIST", b"INFO")))
    assert (found.data_bytes, found.problems) == (0, ())


@pytest.mark.parametrize(
    ("data", "problem", "claimed"),
    [
        pytest.param(
            riff(chunk(b"fmt ", MONO), chunk(b"data", SOUND, 0)),
            "wav.data_length_unknown",
            None,
            id="length 0",
        ),
        pytest.param(
            riff(chunk(b"fmt ", MONO), chunk(b"data", SOUND, 0xFFFFFFFF)),
            "wav.data_length_unknown",
            None,
            id="length 0xFFFFFFFF",
        ),
        pytest.param(
            riff(chunk(b"fmt ", MONO), chunk(b"data", SOUND, 2**30)),
            "wav.data_past_end",
            Fraction(2**30, 16000),
            id="a gibibyte that is not there",
        ),
        pytest.param(
            riff(chunk(b"data", SOUND), chunk(b"fmt ", MONO)),
            "wav.format_after_data",
            1,
            id="format behind the sound",
        ),
        pytest.param(
            riff(chunk(b"fmt ", MONO), chunk(b"data", SOUND)) + b"<html>",
            "wav.trailing_bytes",
            1,
            id="a few bytes behind the sound",
        ),
        pytest.param(
            riff(chunk(b"fmt ", MONO), chunk(b"data", SOUND)) + b"<html><script>",
            "wav.chunk_past_end",
            1,
            id="a page behind the sound",
        ),
        pytest.param(
            riff(chunk(b"fmt ", MONO), chunk(b"data", SOUND), chunk(b"LIST", b"", 999)),
            "wav.chunk_past_end",
            1,
            id="a list that is cut off",
        ),
        pytest.param(
            riff(chunk(b"fmt ", MONO), chunk(b"data", SOUND + b"x")),
            "wav.partial_frame",
            Fraction(16001, 16000),
            id="half a sample",
        ),
    ],
)
def test_a_fault_is_named_and_the_sound_found_all_the_same(data, problem, claimed):
    found = parse(data)
    assert found.problems == (problem,)
    assert found.claimed == claimed
    assert sound_of(data) == SOUND


def test_claimed_length_follows_from_format_not_from_the_average_it_states():
    data = riff(chunk(b"fmt ", form(average=1, align=9)), chunk(b"data", SOUND))
    assert parse(data).claimed == 1


def test_block_codecs_are_measured_by_their_fact_chunk():
    gsm = form(tag=0x31, average=1625, align=65, bits=0) + struct.pack("<HH", 2, 320)
    data = riff(
        chunk(b"fmt ", gsm),
        chunk(b"fact", struct.pack("<I", 4000)),
        chunk(b"data", bytes(1626)),
    )
    found = parse(data)
    assert (found.claimed, found.data_bytes, found.problems) == (Fraction(1, 2), 1625, ())


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"RIFF\0\0\0\0WAVE", "wav.no_format", id="nothing"),
        pytest.param(riff(chunk(b"data", SOUND)), "wav.no_format", id="no format"),
        pytest.param(riff(chunk(b"fmt ", MONO)), "wav.no_data", id="no data"),
        pytest.param(
            riff(chunk(b"fmt ", MONO[:14]), chunk(b"data", SOUND)),
            "wav.format_too_short",
            id="short format",
        ),
        pytest.param(
            riff(chunk(b"fmt ", form(channels=0)), chunk(b"data", SOUND)),
            "wav.no_channels",
            id="no channels",
        ),
        pytest.param(
            riff(chunk(b"fmt ", form(rate=0)), chunk(b"data", SOUND)),
            "wav.no_sample_rate",
            id="rate 0",
        ),
        pytest.param(
            riff(chunk(b"fmt ", form(bits=0)), chunk(b"data", SOUND)),
            "wav.no_sample_bits",
            id="bits 0",
        ),
        pytest.param(
            riff(chunk(b"fmt ", form(tag=0x31, align=0)), chunk(b"data", SOUND)),
            "wav.no_byte_rate",
            id="blocks of nothing",
        ),
        pytest.param(
            riff(*[chunk(b"junk", b"")] * 1000, chunk(b"fmt ", MONO), chunk(b"data", SOUND)),
            "wav.no_format",
            id="a thousand chunks before the first that counts",
        ),
    ],
)
def test_where_no_sound_can_be_found_the_reason_is_told(data, problem):
    with pytest.raises(NotWaveError) as refused:
        parse(data)
    assert refused.value.problem == problem


def test_a_million_chunks_are_not_walked():
    asked = []

    def read_at(offset, length):
        asked.append(offset)
        return bytes(length)

    with pytest.raises(NotWaveError):
        parse_wave(read_at, 8_000_012)
    assert len(asked) <= 1000


def test_more_sound_than_the_length_field_holds_is_written_as_unknown():
    assert wave_header(MONO, 2**32).endswith(b"data\xff\xff\xff\xff")


WELL_FORMED = riff(chunk(b"fmt ", MONO), chunk(b"LIST", b"INFO"), chunk(b"data", SOUND[:64]))


@settings(max_examples=300)
@given(data=st.data())
def test_damage_is_either_refused_or_leaves_a_stretch_within_the_file(data):
    damaged = bytearray(WELL_FORMED)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(damaged[: data.draw(st.integers(12, len(damaged)))])
    try:
        found = parse(damaged)
    except NotWaveError:
        return
    assert 0 <= found.data_bytes <= len(damaged) - found.data_offset
    assert found.claimed is None or found.claimed >= 0
