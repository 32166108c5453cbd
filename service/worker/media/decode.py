"""Decoding with PyAV: what is in a recording, how loud it is, and its samples.

Only demuxers and decoders on the lists here and in ``sniff`` run, on a file object of ours; a
reference to another file or address is refused.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.filter import Graph

from service.worker.media.peaks import MAX_CHANNELS, PeakMeter, Peaks
from service.worker.media.reader import View
from service.worker.media.sniff import Format

_CODECS = frozenset(
    {
        "aac",
        "adpcm_ima_wav",
        "adpcm_ms",
        "alac",
        "amrnb",
        "amrwb",
        "flac",
        "g722",
        "gsm",
        "gsm_ms",
        "mp2float",
        "mp3float",
        "opus",
        "pcm_alaw",
        "pcm_f32be",
        "pcm_f32le",
        "pcm_f64le",
        "pcm_mulaw",
        "pcm_s16be",
        "pcm_s16le",
        "pcm_s24be",
        "pcm_s24le",
        "pcm_s32be",
        "pcm_s32le",
        "pcm_s8",
        "pcm_u8",
        "speex",
        "vorbis",
    }
)
# FFmpeg's own AMR decoders give no time to the pauses of a call (RFC 4867, NO_DATA and SID).
_BETTER_DECODERS = {"amrnb": "libopencore_amrnb", "amrwb": "libopencore_amrwb"}
_GAP_SECONDS = 0.5
# ValueError: a name or number that PyAV itself cannot take. PermissionError: see _refuse.
_DECODER_ERRORS = (av.FFmpegError, ValueError, PermissionError)
_OPTIONS = {"protocol_whitelist": "", "codec_whitelist": ",".join(sorted(_CODECS))}


class NotDecodableError(Exception):
    """There is nothing here that we decode; ``problem`` is the code that says why."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


class OutOfTimeError(Exception):
    """The processor time that the recording may use has run out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What decoding everything found. ``claimed`` is the container's word, in seconds."""

    codec: str
    channels: int
    sample_rate_hz: int
    seconds: Fraction
    claimed: Fraction | None
    problems: frozenset[str]
    is_complete: bool
    peaks: Peaks | None


class Decoding:
    """One pass over the sound of a recording.

    Opening it raises ``NotDecodableError`` where there is no sound that we decode. Both passes
    raise what reading from the file raises, and ``MemoryError``.
    """

    def __init__(self, container: InputContainer, stream: AudioStream) -> None:
        self._container = container
        self._stream = stream
        self._decoder = _decoder(stream.codec_context)
        self.problems: set[str] = set()

    @classmethod
    @contextmanager
    def opened(cls, view: View, form: Format) -> Iterator["Decoding"]:
        """Open ``view`` as what ``form`` says, and close it again."""
        try:
            container = av.open(
                view,
                "r",
                format=form.demuxer,
                options=_OPTIONS,
                container_options=form.options,
                metadata_errors="ignore",
                io_open=_refuse,
            )
        except _DECODER_ERRORS as error:
            raise _told(error, "container_unreadable") from None
        with container:
            if not container.streams.audio:
                raise NotDecodableError("no_sound")
            stream = container.streams.audio[0]
            # A stream that no decoder knows has no context.
            if getattr(stream.codec_context, "name", None) not in _CODECS:
                raise NotDecodableError("codec_unsupported")
            yield cls(container, stream)

    @property
    def codec(self) -> str:
        """The name of the encoding, whichever decoder is used."""
        return self._stream.codec_context.codec.canonical_name

    @property
    def stated_channels(self) -> int:
        """The number of channels by the header; what is decoded may differ."""
        return self._stream.codec_context.layout.nb_channels

    @property
    def stated_rate_hz(self) -> int:
        """The sample rate by the header; what is decoded may differ."""
        return self._stream.codec_context.sample_rate

    @property
    def claimed(self) -> Fraction | None:
        """The duration in seconds that the container states or lets one estimate."""
        duration = self._container.duration
        return Fraction(duration, av.time_base) if duration and duration > 0 else None

    def frames(self) -> Iterator[AudioFrame]:
        """Yield what can be decoded; what cannot is left out and noted in ``problems``."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except _DECODER_ERRORS as error:
                self.problems.add(_told(error, "container_damaged").problem)
                packet = None
            if packet is None:
                return
            try:
                yield from self._decoder.decode(packet)
            except av.EOFError:
                return
            except _DECODER_ERRORS as error:
                self.problems.add(_told(error, "sound_damaged").problem)


def _decoder(stated: AudioCodecContext) -> AudioCodecContext:
    """Return what decodes what ``stated`` describes, on this thread alone."""
    better = _BETTER_DECODERS.get(stated.name)
    decoder = stated
    if better in av.codecs_available:
        decoder = cast("AudioCodecContext", av.CodecContext.create(better, "r"))
        decoder.sample_rate = stated.sample_rate
        decoder.layout = stated.layout
    decoder.thread_count = 1
    return decoder


class Converter:
    """Brings frames to one sample format, rate and layout, on this thread alone."""

    def __init__(self, sample_format: str, first: AudioFrame, *, rate: int) -> None:
        self._format = sample_format
        self._layout = first.layout.name
        self._rate = rate
        self._shape: tuple[str, str, int] | None = None
        self._graph = Graph()

    def convert(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        """Yield what ``frame`` becomes; some of it may come with the next one."""
        shape = _shape(frame)
        if shape != self._shape:
            yield from self.finish()
            self._start(shape)
        # Continuous time stamps are not needed here, and lying ones would confuse the filter.
        frame.pts = None
        self._graph.push(frame)
        yield from self._pull()

    def finish(self) -> Iterator[AudioFrame]:
        """Yield what is left inside."""
        if self._shape is not None:
            self._graph.push(None)
            yield from self._pull()
            self._shape = None

    def _start(self, shape: tuple[str, str, int]) -> None:
        graph = Graph()
        graph.threads = 1
        sample_format, layout, rate = shape
        source = graph.add(
            "abuffer", sample_rate=str(rate), sample_fmt=sample_format, channel_layout=layout
        )
        target = graph.add(
            "aformat",
            sample_rates=str(self._rate),
            sample_fmts=self._format,
            channel_layouts=self._layout,
        )
        source.link_to(target)
        target.link_to(graph.add("abuffersink"))
        graph.configure()
        self._graph = graph
        self._shape = shape

    def _pull(self) -> Iterator[AudioFrame]:
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            if isinstance(frame, AudioFrame):
                yield frame


def measure(decoding: Decoding, *, cpu_seconds: float) -> Measured:
    """Decode everything, counting samples and taking peaks, within ``cpu_seconds``.

    Raises:
        NotDecodableError: More channels than a recording has.
    """
    deadline = time.process_time() + cpu_seconds
    tally = _Tally(decoding.problems)
    is_complete = True
    for frame in decoding.frames():
        tally.add(frame)
        if time.process_time() > deadline:
            is_complete = False
            break
    peaks = tally.finish()
    return Measured(
        codec=decoding.codec,
        channels=len(peaks.channels) if peaks else decoding.stated_channels,
        sample_rate_hz=peaks.sample_rate_hz if peaks else decoding.stated_rate_hz,
        seconds=tally.seconds,
        claimed=decoding.claimed,
        problems=frozenset(decoding.problems),
        is_complete=is_complete,
        peaks=peaks,
    )


def render(
    decoding: Decoding, *, rate: int, cpu_seconds: float, send: Callable[[memoryview], None]
) -> None:
    """Send all samples as interleaved signed 16-bit little-endian at ``rate``.

    Raises:
        OutOfTimeError: ``cpu_seconds`` were not enough.
    """
    deadline = time.process_time() + cpu_seconds
    converter: Converter | None = None
    for frame in decoding.frames():
        converter = converter or Converter("s16", frame, rate=rate)
        for converted in converter.convert(frame):
            send(_interleaved(converted))
        if time.process_time() > deadline:
            raise OutOfTimeError
    for converted in converter.finish() if converter else ():
        send(_interleaved(converted))


class _Tally:
    """Counts samples and measures peaks of frames that may change their shape on the way."""

    def __init__(self, problems: set[str]) -> None:
        self._problems = problems
        self._samples: dict[int, int] = {}
        self._shape: tuple[str, str, int] | None = None
        self._first_time: float | None = None
        self._meter: PeakMeter | None = None
        self._converter: Converter | None = None

    @property
    def seconds(self) -> Fraction:
        return sum(
            (Fraction(samples, rate) for rate, samples in self._samples.items()), Fraction(0)
        )

    def add(self, frame: AudioFrame) -> None:
        shape = _shape(frame)
        if self._converter is None or self._meter is None:
            self._begin(frame)
            self._shape = shape
        if shape != self._shape:
            self._problems.add("format_changes")
        self._notice_gaps(frame)
        rate = frame.sample_rate
        self._samples[rate] = self._samples.get(rate, 0) + frame.samples
        if self._converter is not None:
            self._measure(self._converter.convert(frame))

    def finish(self) -> Peaks | None:
        if self._converter is None or self._meter is None:
            return None
        self._measure(self._converter.finish())
        return self._meter.result()

    def _begin(self, frame: AudioFrame) -> None:
        channels = frame.layout.nb_channels
        if not 1 <= channels <= MAX_CHANNELS:
            raise NotDecodableError("too_many_channels")
        self._meter = PeakMeter(channels=channels, sample_rate_hz=frame.sample_rate)
        self._converter = Converter("u8p", frame, rate=frame.sample_rate)

    def _measure(self, frames: Iterator[AudioFrame]) -> None:
        for frame in frames:
            # A plane may be padded beyond its samples.
            planes = [bytes(memoryview(plane)[: frame.samples]) for plane in frame.planes]
            if self._meter is not None:
                self._meter.add(planes)

    def _notice_gaps(self, frame: AudioFrame) -> None:
        if frame.time is None:
            return
        if self._first_time is None:
            self._first_time = frame.time
        if frame.time - self._first_time - float(self.seconds) > _GAP_SECONDS:
            self._problems.add("time_stamp_gaps")


def _shape(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _interleaved(frame: AudioFrame) -> memoryview:
    return memoryview(frame.planes[0])[: frame.samples * frame.layout.nb_channels * 2]


def _told(error: Exception, problem: str) -> NotDecodableError:
    """Return what to report for ``error``; want of memory is not the recording's word."""
    if isinstance(error, MemoryError):
        raise error
    return NotDecodableError(problem)


def _refuse(*_: object) -> None:
    raise PermissionError("a recording may not refer to anything outside itself")
