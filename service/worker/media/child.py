"""The child process: shuts itself in, then decodes one recording for its parent.

Before it asks for the first byte it can open no file and no socket, start no process or thread,
write nothing to disk, leave no core dump, and use only so much memory and processor time. All
it has is one socket to its parent.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

import av.logging
import av.subtitles.codeccontext  # PyAV imports it on first use, when no file can be opened.

from service.worker.confine import confine
from service.worker.media.decode import (
    Decoding,
    Measured,
    NotDecodableError,
    OutOfTimeError,
    measure,
    render,
)
from service.worker.media.facts import MediaFacts, MediaFlag, encode_facts, unreadable
from service.worker.media.judge import decide_facts
from service.worker.media.peaks import encode_peaks
from service.worker.media.pipe import BEGIN, DATA, END, FACTS, MAX_PAYLOAD_BYTES, PEAKS, SIZE
from service.worker.media.reader import Channel, ReadBudgetError, RemoteFile, View
from service.worker.media.rtp import Sound, read_sound
from service.worker.media.sniff import Format, find_format
from service.worker.media.wave import (
    NotWaveError,
    Wave,
    parse_wave,
    pcm_format,
    wave_header,
)

_GRACE_SECONDS = 5
_MOST_RATE_HZ = 48_000
_DATA_BYTES = 64 * 1024
_NOT_OURS = frozenset({"codec_unsupported", "format_unknown", "no_sound", "too_many_channels"})
"""Problems that say only that we do not decode it: it may be well-formed."""
_STATE_DURATION = frozenset({"au", "flac", "mp4", "ogg", "webm"})
_MARKS_OF_LENGTH = (b"Xing", b"Info", b"VBRI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the parent wants, as it comes over the socket."""

    size_bytes: int
    content_type: str
    name: str
    wants_rendition: bool
    cpu_seconds: int
    memory_bytes: int
    read_bytes: int
    rendition_bytes: int


@dataclass(frozen=True, slots=True)
class _Found:
    """A recording that has been recognised: how to read it, and what its structure told."""

    form: Format
    start: int
    length: int
    prefix: bytes = b""
    wave: Wave | None = None
    sound: Sound | None = None

    def view(self, file: RemoteFile) -> View:
        return View(
            self.sound or file, start=self.start, length=self.length, prefix=self.prefix
        )


def main() -> None:
    """Serve the parent at the other end of standard input, once."""
    channel = Channel(0)
    order = Order(**json.loads(channel.greeting()))
    _rehearse()
    _confine(order)
    file = RemoteFile(channel, size_bytes=order.size_bytes, most_bytes=order.read_bytes)
    try:
        _serve(channel, file, order)
    except MemoryError:
        channel.send(FACTS, encode_facts(unreadable("memory_limit", MediaFlag.LIMIT_REACHED)))
    except EOFError:
        # The parent no longer wants to know.
        os._exit(1)
    channel.send(END)


def _serve(channel: Channel, file: RemoteFile, order: Order) -> None:
    """Send facts and peaks, then the rendition if one is wanted and needed."""
    try:
        found = _find(file, order)
        with Decoding.opened(found.view(file), found.form) as decoding:
            measured = measure(decoding, cpu_seconds=order.cpu_seconds)
    except (NotWaveError, NotDecodableError) as error:
        flags = () if error.problem in _NOT_OURS else (MediaFlag.MALFORMED,)
        channel.send(FACTS, encode_facts(unreadable(error.problem, *flags)))
        return
    except ReadBudgetError:
        facts = unreadable("reads_in_circles", MediaFlag.LIMIT_REACHED, MediaFlag.MALFORMED)
        channel.send(FACTS, encode_facts(facts))
        return
    facts = _facts(file, found, measured)
    channel.send(FACTS, encode_facts(facts))
    if measured.peaks is not None:
        channel.send(PEAKS, encode_peaks(measured.peaks))
    is_wanted = order.wants_rendition and measured.seconds and measured.is_complete
    if is_wanted and not facts.is_browser_playable:
        with suppress(ReadBudgetError, OutOfTimeError, NotDecodableError):
            _send_rendition(channel, file, found, order=order, measured=measured)


def _find(file: RemoteFile, order: Order) -> _Found:
    form = find_format(
        file.read_at,
        size_bytes=file.size_bytes,
        content_type=order.content_type,
        name=order.name,
    )
    if form is None:
        raise NotDecodableError("format_unknown")
    if form.container == "pcap":
        return _found_in_packets(file, form)
    length = file.size_bytes - form.start
    if form.container != "wav":
        return _Found(form, form.start, length)
    wave = parse_wave(lambda offset, count: file.read_at(form.start + offset, count), length)
    return _Found(
        form,
        form.start + wave.data_offset,
        wave.data_bytes,
        wave_header(wave.fmt, wave.data_bytes),
        wave,
    )


def _found_in_packets(file: RemoteFile, form: Format) -> _Found:
    sound = read_sound(file.read_at, file.size_bytes)
    head = wave_header(sound.fmt, sound.size_bytes)
    return _Found(form, 0, sound.size_bytes, head, sound=sound)


def _facts(file: RemoteFile, found: _Found, measured: Measured) -> MediaFacts:
    wave, sound = found.wave, found.sound
    told = wave or sound
    return decide_facts(
        container=found.form.container,
        codec=measured.codec,
        channels=measured.channels,
        sample_rate_hz=measured.sample_rate_hz,
        seconds=measured.seconds,
        claimed=wave.claimed if wave else _claimed(file, found, measured),
        problems=measured.problems.union(told.problems if told else ()),
        is_truncated=told is not None and told.is_truncated,
        is_complete=measured.is_complete,
    )


def _claimed(file: RemoteFile, found: _Found, measured: Measured) -> Fraction | None:
    """Return the stated duration; an estimate from size and bit rate is no statement."""
    if found.form.container == "mp3":
        head = file.read_at(found.start, 256)
        return measured.claimed if any(mark in head for mark in _MARKS_OF_LENGTH) else None
    return measured.claimed if found.form.container in _STATE_DURATION else None


def _send_rendition(
    channel: Channel, file: RemoteFile, found: _Found, *, order: Order, measured: Measured
) -> None:
    """Send the whole sound as a WAV file of 16-bit PCM, of exactly the size announced first."""
    rate = min(measured.sample_rate_hz, _MOST_RATE_HZ)
    sound_bytes = round(measured.seconds * rate) * measured.channels * 2
    header = wave_header(
        pcm_format(channels=measured.channels, sample_rate_hz=rate), sound_bytes
    )
    if len(header) + sound_bytes > order.rendition_bytes:
        return
    channel.send(BEGIN, SIZE.pack(len(header) + sound_bytes))
    writer = _Writer(channel, sound_bytes)
    channel.send(DATA, header)
    with Decoding.opened(found.view(file), found.form) as decoding:
        render(decoding, rate=rate, cpu_seconds=order.cpu_seconds, send=writer.write)
    writer.finish()


class _Writer:
    """Sends exactly as many bytes as were announced, in pieces of a good size.

    Resampling may end a sample early or late; silence fills up, what is too much is cut.
    """

    def __init__(self, channel: Channel, size_bytes: int) -> None:
        self._channel = channel
        self._left = size_bytes
        self._pending = bytearray()

    def write(self, sound: memoryview | bytes) -> None:
        kept = sound[: self._left]
        self._left -= len(kept)
        self._pending += kept
        if len(self._pending) >= _DATA_BYTES:
            self._flush()

    def finish(self) -> None:
        while self._left:
            self.write(bytes(min(self._left, _DATA_BYTES)))
        self._flush()

    def _flush(self) -> None:
        pending = bytes(self._pending)
        for start in range(0, len(pending), MAX_PAYLOAD_BYTES):
            self._channel.send(DATA, pending[start : start + MAX_PAYLOAD_BYTES])
        self._pending.clear()


class _Rehearsal:
    """A moment of silence as a file."""

    def __init__(self) -> None:
        sound = bytes(160)
        form = pcm_format(channels=1, sample_rate_hz=8000)
        self._bytes = wave_header(form, len(sound)) + sound
        self.size_bytes = len(self._bytes)

    def read_at(self, offset: int, length: int) -> bytes:
        return self._bytes[offset : offset + length]


def _rehearse() -> None:
    """Decode something of our own, so that whatever is imported on first use is there."""
    file = _Rehearsal()
    with Decoding.opened(
        View(file, start=0, length=file.size_bytes), Format("wav", "wav")
    ) as it:
        measure(it, cpu_seconds=1)


def _confine(order: Order) -> None:
    """Give up everything that decoding does not need. There is no way back."""
    # Both passes may use their time; beyond it the kernel ends the process.
    seconds = 2 * order.cpu_seconds + _GRACE_SECONDS
    confine(
        memory_bytes=order.memory_bytes,
        cpu_seconds=seconds,
        most_cpu_seconds=seconds + _GRACE_SECONDS,
    )
    av.logging.set_level(av.logging.PANIC)
