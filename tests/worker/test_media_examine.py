"""Whatever the bytes are, examining them ends with facts; good ones come out right."""

import asyncio
import io
import random
import struct
import wave
from datetime import timedelta
from pathlib import Path

import pytest

from service.worker.media.facts import MediaFlag
from service.worker.media.run import MediaLimits, Rendition, examine
from service.worker.media.wave import pcm_format, wave_header

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "samples"
MONO = pcm_format(channels=1, sample_rate_hz=8000)
SECOND = bytes(16000)
NOISE = random.Random(1).randbytes(2**20)  # noqa: S311  # the same noise each time
GOOD = wave_header(MONO, len(SECOND)) + SECOND


class Held:
    """A recording in memory that notes how much of it was asked for."""

    def __init__(self, data):
        self._data = data
        self.size_bytes = len(data)
        self.read_bytes = 0

    async def read(self, offset, length):
        assert offset >= 0
        assert offset + length <= self.size_bytes
        self.read_bytes += length
        return self._data[offset : offset + length]


class Kept:
    """A sink that remembers."""

    def __init__(self):
        self.data = bytearray()

    async def __call__(self, chunk):
        self.data += chunk


def samples_of(rendition):
    with wave.open(io.BytesIO(bytes(rendition))) as reader:
        return reader.getparams(), reader.readframes(10**6)


@pytest.mark.parametrize(
    ("name", "container", "codec", "channels", "rate", "is_playable"),
    [
        ("call.opus", "ogg", "opus", 2, 48000, True),
        ("call.ogg", "ogg", "vorbis", 2, 8000, True),
        ("call.webm", "webm", "opus", 2, 48000, True),
        ("call.mp3", "mp3", "mp3", 2, 8000, True),
        ("call.m4a", "mp4", "aac", 2, 16000, True),
        ("call.flac", "flac", "flac", 2, 8000, True),
        ("call.aac", "aac", "aac", 2, 16000, False),
        ("call-alaw.wav", "wav", "pcm_alaw", 2, 8000, False),
        ("call-adpcm.wav", "wav", "adpcm_ima_wav", 2, 8000, False),
        ("call-gsm.wav", "wav", "gsm_ms", 1, 8000, False),
        ("call.spx", "ogg", "speex", 1, 8000, False),
        ("call.gsm", "raw", "gsm", 1, 8000, False),
        ("call.g722", "raw", "adpcm_g722", 1, 16000, False),
        ("call.ul", "raw", "pcm_mulaw", 1, 8000, False),
    ],
)
async def test_a_call_is_recognised_and_plays_everywhere(  # one column each
    name, container, codec, channels, rate, is_playable
):
    sink = Kept()
    result = await examine(Held((SAMPLES / name).read_bytes()), name=name, sink=sink)
    facts = result.facts
    assert (facts.container, facts.codec) == (container, codec)
    assert (facts.channels, facts.sample_rate_hz) == (channels, rate)
    assert (facts.flags, facts.problems) == (frozenset(), ())
    assert abs(facts.duration - timedelta(seconds=4.5)) < timedelta(seconds=0.12)
    assert len(result.peaks.channels) == channels
    assert facts.is_browser_playable is is_playable
    assert (result.rendition is None) is is_playable
    if is_playable:
        assert not sink.data
    else:
        assert result.rendition == Rendition(
            content_type="audio/wav", size_bytes=len(sink.data)
        )
        params, sound = samples_of(sink.data)
        assert params[:3] == (channels, 2, rate)
        assert timedelta(seconds=params.nframes / rate) == facts.duration
        assert len(sound) == params.nframes * channels * 2


@pytest.mark.parametrize("name", ["call.opus", "call.mp3", "call-alaw.wav", "call.flac"])
async def test_the_first_speaker_stays_in_the_first_channel(name):
    result = await examine(Held((SAMPLES / name).read_bytes()))
    agent, customer = result.peaks.channels
    early, late = slice(0, 100), slice(125, 225)
    assert sum(agent[early]) > 4 * sum(customer[early])
    assert sum(customer[late]) > 4 * sum(agent[late])


def linear(code):
    """Return what an A-law code stands for (ITU-T G.711, table 1a, scaled to 16 bits)."""
    code ^= 0x55
    exponent, mantissa = code >> 4 & 7, code & 15
    size = (mantissa * 2 + 1) << 3
    if exponent:
        size = (size + 256) << (exponent - 1)
    return size if code & 0x80 else -size


async def test_the_rendition_holds_the_decoded_samples_exactly():
    sound = bytes(range(256)) * 20
    fmt = struct.pack("<HHIIHH", 6, 1, 8000, 8000, 1, 8)
    sink = Kept()
    await examine(Held(wave_header(fmt, len(sound)) + sound), sink=sink)
    _, rendered = samples_of(sink.data)
    assert struct.unpack("<5120h", rendered) == tuple(linear(code) for code in sound)


@pytest.mark.parametrize("channels", [1, 3, 6])
async def test_every_channel_is_kept(channels):
    fmt = struct.pack("<HHIIHH", 7, channels, 8000, 8000 * channels, channels, 8)
    sound = bytes(range(256)) * channels * 20
    sink = Kept()
    result = await examine(Held(wave_header(fmt, len(sound)) + sound), sink=sink)
    assert result.facts.channels == len(result.peaks.channels) == channels
    assert result.rendition.size_bytes == len(sink.data)
    assert int.from_bytes(sink.data[22:24], "little") == channels


async def test_frames_without_sound_are_still_time():
    frames = (
        b"#!AMR\n" + b"\x7c" * 50
    )  # RFC 4867, section 5: frames of type NO_DATA, 20 ms each
    result = await examine(Held(frames))
    assert (result.facts.codec, result.facts.duration) == ("amr_nb", timedelta(seconds=1))


def chunk(tag, content, length=None):
    return tag + struct.pack("<I", len(content) if length is None else length) + content


def riff(*chunks):
    return b"RIFF" + struct.pack("<I", 4 + sum(map(len, chunks))) + b"WAVE" + b"".join(chunks)


def form(channels=1, rate=8000, bits=16):
    return struct.pack("<HHIIHH", 1, channels, rate, 16000, 2, bits)


def cut(name, share):
    data = (SAMPLES / name).read_bytes()
    return data[: int(len(data) * share)]


@pytest.mark.parametrize(
    ("data", "seconds", "flags"),
    [
        pytest.param(b"", 0, {"empty"}, id="no bytes"),
        pytest.param(wave_header(MONO, 0), 0, {"empty"}, id="44 bytes of header"),
        pytest.param(
            riff(chunk(b"fmt ", MONO), chunk(b"data", SECOND, 0)), 1, {"malformed"}, id="size 0"
        ),
        pytest.param(
            riff(chunk(b"fmt ", MONO), chunk(b"data", SECOND, 0xFFFFFFFF)),
            1,
            {"malformed"},
            id="size 0xFFFFFFFF",
        ),
        pytest.param(
            riff(chunk(b"fmt ", MONO), chunk(b"data", SECOND, 2**30)),
            1,
            {"malformed", "truncated", "header_lies"},
            id="size of a gibibyte",
        ),
        pytest.param(
            riff(chunk(b"data", SECOND), chunk(b"fmt ", MONO)), 1, {"malformed"}, id="fmt last"
        ),
        pytest.param(
            riff(chunk(b"fmt ", MONO), chunk(b"LIST", b"INFO" * 9), chunk(b"data", SECOND)),
            1,
            set(),
            id="a list first",
        ),
        pytest.param(GOOD + b"<html>", 1, {"malformed"}, id="a page behind"),
        pytest.param(
            GOOD[:6044], 0.4, {"malformed", "truncated", "header_lies"}, id="half of a file"
        ),
        pytest.param(
            cut("call.mp3", 0.5), 2.2, {"truncated", "header_lies"}, id="half of an mp3"
        ),
        pytest.param(
            cut("call.flac", 0.5),
            2,
            {"malformed", "truncated", "header_lies"},
            id="half of a flac",
        ),
        pytest.param(cut("call.opus", 0.5), 2, set(), id="half of an opus stream"),
        pytest.param(cut("call.m4a", 0.5), 0, {"malformed", "unreadable"}, id="half of an mp4"),
        pytest.param(
            riff(chunk(b"fmt ", form(rate=0)), chunk(b"data", SECOND)),
            0,
            {"malformed", "unreadable"},
            id="rate 0",
        ),
        pytest.param(
            riff(chunk(b"fmt ", form(channels=0)), chunk(b"data", SECOND)),
            0,
            {"malformed", "unreadable"},
            id="channels 0",
        ),
        pytest.param(
            riff(chunk(b"fmt ", form(bits=0)), chunk(b"data", SECOND)),
            0,
            {"malformed", "unreadable"},
            id="bits 0",
        ),
        pytest.param(
            riff(chunk(b"fmt ", form(channels=65535)), chunk(b"data", SECOND)),
            0,
            {"malformed", "unreadable"},
            id="channels 65535",
        ),
        pytest.param(b"<!doctype html><audio src=x>", 0, {"unreadable"}, id="a page"),
        pytest.param(b"ffconcat version 1.0\nfile call.mp3\n", 0, {"unreadable"}, id="a list"),
        pytest.param(NOISE[:5000], 0, {"unreadable"}, id="noise"),
    ],
)
async def test_bad_input_gives_facts_and_harms_nothing(data, seconds, flags):
    sink = Kept()
    result = await examine(Held(data), sink=sink)
    assert result.facts.flags == flags
    assert result.facts.duration.total_seconds() == pytest.approx(seconds, abs=0.3)
    assert (result.rendition is None) is not bool(sink.data)


async def test_a_lie_about_the_length_is_kept_as_a_claim():
    result = await examine(Held(riff(chunk(b"fmt ", MONO), chunk(b"data", SECOND, 2**30))))
    assert result.facts.duration == timedelta(seconds=1)
    assert result.facts.claimed_duration == timedelta(seconds=2**30 / 16000)


class Covered(Held):
    """An MP3 file behind a picture of 200 megabytes."""

    def __init__(self):
        super().__init__((SAMPLES / "call.mp3").read_bytes())
        self._picture_bytes = 200 * 2**20
        self._head = b"ID3\4\0\0" + bytes(
            self._picture_bytes >> shift & 0x7F for shift in (21, 14, 7, 0)
        )
        self._start = len(self._head) + self._picture_bytes
        self.size_bytes += self._start

    async def read(self, offset, length):
        self.read_bytes += length
        head = self._head[offset : offset + length]
        blank = max(0, min(self._start, offset + length) - max(offset, len(self._head)))
        tail = self._data[max(0, offset - self._start) : max(0, offset + length - self._start)]
        return head + bytes(blank) + tail


async def test_a_huge_cover_picture_is_not_even_read():
    recording = Covered()
    result = await examine(recording)
    assert (result.facts.codec, result.facts.flags) == ("mp3", frozenset())
    assert recording.read_bytes < 2**20


def damaged(seed):
    choose = random.Random(seed)  # noqa: S311  # the same damage each time
    names = sorted(path.name for path in SAMPLES.glob("call*"))
    name = names[seed % len(names)]
    data = bytearray((SAMPLES / name).read_bytes())
    for _ in range(choose.choice([1, 10, 200])):
        data[choose.randrange(min(len(data), choose.choice([64, 10**6])))] = choose.randrange(
            256
        )
    return name, bytes(data[: choose.randrange(1, len(data)) if seed % 3 else None])


async def test_damaged_recordings_never_raise():
    room = asyncio.Semaphore(2)

    async def one(seed):
        name, data = damaged(seed)
        async with room:
            return await examine(Held(data), name=name, sink=Kept())

    results = await asyncio.gather(*(one(seed) for seed in range(42)))
    assert all(result.facts.duration < timedelta(minutes=1) for result in results)
    assert "decoder_misbehaved" not in {
        problem for result in results for problem in result.facts.problems
    }


@pytest.mark.parametrize("name", ["fi-alaw.wav", "fi-gsm.wav", "fi.m4a", "fi.mp3", "fi.opus"])
async def test_speech_of_other_makers_is_read(name):
    path = SHARED / "audio" / name
    if not path.exists():
        pytest.skip("shared sample recordings absent")
    result = await examine(Held(path.read_bytes()), sink=Kept())
    assert result.facts.flags == frozenset()
    assert abs(result.facts.duration - timedelta(seconds=4.44)) < timedelta(seconds=0.03)


async def test_recordings_of_asterisk_are_read():
    paths = sorted((SHARED / "asterisk").glob("*.wav"))
    if not paths:
        pytest.skip("recordings made by Asterisk absent")
    for path in paths:
        result = await examine(Held(path.read_bytes()))
        assert (result.facts.flags, result.facts.is_browser_playable) == (frozenset(), True)


async def test_a_recording_of_freeswitch_is_read():
    path = SHARED / "freeswitch" / "encode-form" / "002.body"
    if not path.exists():
        pytest.skip("recording made by FreeSWITCH absent")
    result = await examine(Held(path.read_bytes()))
    assert (result.facts.flags, result.facts.channels) == (frozenset(), 2)
    # What it tells of itself, before its sound, is no part of its length.
    assert result.facts.duration == timedelta(milliseconds=7130)


class Endless(Held):
    """Three hours of a stereo call that nobody had to store."""

    def __init__(self):
        super().__init__(NOISE * 2)
        fmt = struct.pack("<HHIIHH", 6, 2, 8000, 16000, 2, 8)
        self._head = wave_header(fmt, 3 * 3600 * 16000)
        self.size_bytes = len(self._head) + 3 * 3600 * 16000

    async def read(self, offset, length):
        if offset < len(self._head):
            return (self._head + self._data)[offset : offset + length]
        return self._data[offset % 2**20 :][:length]


@pytest.mark.slow
async def test_three_hours_take_no_more_memory_than_a_second():
    sent = 0

    async def count(piece):
        nonlocal sent
        sent += len(piece)

    limits = MediaLimits(memory_bytes=200 * 2**20)
    assert (await examine(Held(GOOD), limits=limits)).facts.flags == frozenset()
    result = await examine(Endless(), sink=count, limits=limits)
    assert (result.facts.duration, result.facts.flags) == (timedelta(hours=3), frozenset())
    assert sent == result.rendition.size_bytes > 3 * 3600 * 32000
    assert all(len(channel) <= 4000 for channel in result.peaks.channels)


async def test_work_without_end_stops_at_the_limit_and_says_so():
    result = await examine(Endless(), sink=Kept(), limits=MediaLimits(cpu_seconds=1))
    assert result.facts.flags == {MediaFlag.LIMIT_REACHED}
    assert timedelta(minutes=1) < result.facts.duration < timedelta(hours=3)
    assert result.rendition is None


async def test_a_recording_that_needs_too_much_memory_is_called_so():
    long = wave_header(MONO, 2**23) + bytes(2**23)
    result = await examine(Held(long), limits=MediaLimits(memory_bytes=2**20))
    assert result.facts.flags == {MediaFlag.LIMIT_REACHED, MediaFlag.UNREADABLE}
