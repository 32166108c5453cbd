"""The sound in captured RTP packets (RFC 3550, RFC 3551): every direction a channel, every packet at its time.

Streams are told apart by their source of synchronisation and by both addresses, for both directions can have the same
SSRC. A direction is where packets go to; one that begins when another has ended goes on in its channel. Samples stand
where the time stamps of RTP put them, and the beginning of each stream where it was captured; the rest is silence. A
tick of the clock is a byte of G.711, and of G.722 too, whose clock is stated wrongly on purpose (RFC 3551, 4.5.2).
"""

import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import av
from av.audio.codeccontext import AudioCodecContext

from service.worker.media.decode import NotDecodableError
from service.worker.media.pcap import Capture, Datagram
from service.worker.media.peaks import MAX_CHANNELS
from service.worker.media.wave import ReadAt

MAX_SOUND_BYTES: Final = 256 * 1024 * 1024
"""The sound of a capture is put together in memory: 4.6 hours of two directions of G.711."""

_CLOCK_HZ: Final = 8_000
_PCMU, _PCMA, _G722 = 0, 8, 9
_DECODED: Final = frozenset({_PCMU, _PCMA, _G722})
_RTCP: Final = range(72, 77)
"""What the types of RTCP packets look like as payload types (RFC 5761, section 4)."""
_COMFORT_NOISE: Final = 13
_EVENT_BYTES: Final = 4
"""The length of a telephone event (RFC 4733, section 2.3), whatever its payload type is."""
_ASTRAY_SAMPLES: Final = 5 * _CLOCK_HZ
"""A time stamp that is so far from when its packet was captured began anew."""
_OVERLAP_NS: Final = 200_000_000
_LEAST_MISSING: Final = _CLOCK_HZ // 2
_SILENCE: Final = {_PCMU: 0xFF, _PCMA: 0xD5}
_TAGS: Final = {_PCMU: 7, _PCMA: 6}

Address = tuple[bytes, int]
Packet = tuple[int, int, int, int, int]


@dataclass(slots=True)
class _Stream:
    """One source of synchronisation in one direction: where its clock stands."""

    base: int
    """The sample at which the extended time stamp 0 stands."""
    last_stamp: int

    def place(self, stamp: int, captured: int) -> int:
        """Return the sample at which a packet begins; ``captured`` is the one of when it came."""
        ahead = (stamp - self.last_stamp) & 0xFFFFFFFF
        self.last_stamp += ahead if ahead < 1 << 31 else ahead - (1 << 32)
        at = self.base + self.last_stamp
        if abs(at - captured) > _ASTRAY_SAMPLES:
            self.base += captured - at
            at = captured
        return at


@dataclass(slots=True)
class _Direction:
    """What went to one address, from when to when, and in which channel it is heard.

    ``reached`` is where the sound that was put down ends.
    """

    number: int
    source: bytes
    began_ns: int
    ended_ns: int
    streams: dict[tuple[int, Address], _Stream] = field(default_factory=dict)
    channel: int = 0
    reached: int | None = None
    decoder: "_G722Decoder | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """The sound of a capture, as samples in a row of all channels: G.711 as it came, else 16-bit PCM.

    ``fmt`` is what a WAV file says of it. ``problems`` are codes: gaps, and packets that nobody here decodes.
    """

    fmt: bytes
    samples: bytearray = field(repr=False)
    problems: frozenset[str]
    is_truncated: bool

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        return len(self.samples)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return bytes from ``offset``; fewer only at the end."""
        return bytes(self.samples[offset : offset + length])


def read_sound(read_at: ReadAt, size_bytes: int) -> Sound:
    """Put the sound of a capture together.

    Raises:
        NotDecodableError: There is none, none that we decode, or more than fits into the memory that there is.
    """
    capture = Capture(read_at, size_bytes)
    reading = _Reading()
    for datagram in capture.datagrams():
        reading.take(datagram)
    directions = reading.directions()
    if not directions:
        raise NotDecodableError("codec_unsupported" if reading.is_foreign else "no_sound")
    fmt, canvas = _blank(reading, channels=1 + max(one.channel for one in directions))
    missing = 0
    for place, offset, length, kind, number in reading.each():
        missing += _put_down(
            reading.found[number], place, kind, read_at(offset, length), canvas
        )
    problems = {"time_stamp_gaps"} if missing >= _LEAST_MISSING else set()
    return Sound(
        fmt=fmt,
        samples=canvas.sound,
        problems=frozenset(problems | ({"codec_unsupported"} if reading.is_foreign else set())),
        is_truncated=capture.is_truncated or reading.is_cut,
    )


def _blank(reading: "_Reading", *, channels: int) -> tuple[bytes, "_Canvas"]:
    """Return silence of the length of all that was captured, and how a WAV file says what it consists of."""
    first = min(place for place, *_ in reading.each())
    last = max(place + length for place, _, length, *_ in reading.each())
    kinds = {kind for *_, kind, _ in reading.each()}
    law = next(iter(kinds)) if len(kinds) == 1 else None
    if law in _TAGS:
        width, times, silence = 1, 1, bytes((_SILENCE[law],))
        form = (_TAGS[law], channels, _CLOCK_HZ, _CLOCK_HZ * channels, channels, 8)
    else:
        width, times, silence = 2, 2 if _G722 in kinds else 1, b"\0"
        rate = _CLOCK_HZ * times
        form = (1, channels, rate, 2 * rate * channels, 2 * channels, 16)
    size = (last - first) * times * width * channels
    if size > MAX_SOUND_BYTES:
        raise NotDecodableError("sound_too_long")
    canvas = _Canvas(bytearray(silence) * size, width, channels, times, first)
    return struct.pack("<HHIIHH", *form), canvas


class _Reading:
    """Goes through the datagrams once and notes where each packet of sound belongs.

    Of each packet it keeps place, offset in the file, length, type, and the number of its direction: forty bytes.
    """

    def __init__(self) -> None:
        self._directions: dict[Address, _Direction] = {}
        self._packets: array[int] = array("q")
        self.found: list[_Direction] = []
        self._began_ns: int | None = None
        self.is_foreign = False
        self.is_cut = False

    def take(self, datagram: Datagram) -> None:
        found = _rtp(datagram.payload)
        if found is None:
            return
        kind, stamp, ssrc, start, stop = found
        if kind not in _DECODED:
            is_sound = kind != _COMFORT_NOISE and stop - start > _EVENT_BYTES
            self.is_foreign = self.is_foreign or is_sound
            return
        self.is_cut = self.is_cut or not datagram.is_whole
        if stop <= start:
            return
        at_ns = datagram.at_ns
        began_ns = self._began_ns = at_ns if self._began_ns is None else self._began_ns
        captured = (at_ns - began_ns) * _CLOCK_HZ // 1_000_000_000
        direction = self._directions.get(datagram.destination)
        if direction is None:
            direction = _Direction(len(self.found), datagram.source[0], at_ns, at_ns)
            self._directions[datagram.destination] = direction
            self.found.append(direction)
        direction.ended_ns = max(direction.ended_ns, at_ns)
        stream = direction.streams.get((ssrc, datagram.source))
        if stream is None:
            stream = direction.streams[ssrc, datagram.source] = _Stream(captured - stamp, stamp)
        place = stream.place(stamp, captured)
        told = (place, datagram.offset + start, stop - start, kind, direction.number)
        self._packets.extend(told)

    def each(self) -> Iterator[Packet]:
        """Yield what was noted of each packet, in the order in which they were captured."""
        packets = self._packets
        for at in range(0, len(packets), 5):
            yield (
                packets[at],
                packets[at + 1],
                packets[at + 2],
                packets[at + 3],
                packets[at + 4],
            )

    def directions(self) -> list[_Direction]:
        """Return the directions with the channel of each, the earliest first.

        Raises:
            NotDecodableError: They would be more channels than we have.
        """
        found = sorted(self._directions.values(), key=lambda one: one.began_ns)
        last: list[_Direction] = []
        for one in found:
            free = [before for before in last if _has_ended(before, one)]
            same = [before for before in free if before.source == one.source]
            if same or free:
                one.channel = (same or free)[0].channel
                last[one.channel] = one
            else:
                one.channel = len(last)
                last.append(one)
            # Each is compared with all before: of a hundred thousand, that would take all the time there is.
            if len(last) > MAX_CHANNELS:
                raise NotDecodableError("too_many_channels")
        return found


def _has_ended(before: _Direction, one: _Direction) -> bool:
    """Tell whether ``before`` was over when ``one`` began, but for what was on its way."""
    shorter = min(each.ended_ns - each.began_ns for each in (before, one))
    return before.ended_ns - one.began_ns <= min(_OVERLAP_NS, shorter // 2)


@dataclass(slots=True)
class _Canvas:
    """The samples that are being put together: ``width`` bytes each, ``times`` as many as the clock ticks."""

    sound: bytearray
    width: int
    channels: int
    times: int
    first: int

    def put(self, place: int, channel: int, samples: bytes) -> None:
        """Put samples of one channel at the tick ``place``."""
        step = self.width * self.channels
        start = (place - self.first) * self.times * step + channel * self.width
        count = min(
            len(samples) // self.width, max(0, (len(self.sound) - start + step - 1) // step)
        )
        for byte in range(self.width):
            begin = start + byte
            self.sound[begin : begin + count * step : step] = samples[byte :: self.width][
                :count
            ]


def _put_down(
    direction: _Direction, place: int, kind: int, payload: bytes, canvas: _Canvas
) -> int:
    """Put a packet into its channel; return how many samples are missing before it."""
    if kind == _G722:
        direction.decoder = direction.decoder or _G722Decoder()
        samples = direction.decoder.decode(payload)
    elif canvas.width == 1:
        samples = payload
    else:
        samples = _linear(payload, kind, canvas.times)
    canvas.put(place, direction.channel, samples)
    before = direction.reached
    direction.reached = max(place + len(payload), place if before is None else before)
    return 0 if before is None else max(0, place - before)


class _G722Decoder:
    """Decodes the packets of one direction in the order in which they came."""

    def __init__(self) -> None:
        self._context = AudioCodecContext.create("g722", "r")
        self._context.sample_rate = 2 * _CLOCK_HZ
        self._context.layout = "mono"

    def decode(self, payload: bytes) -> bytes:
        try:
            frames = self._context.decode(av.Packet(payload))
            return b"".join(bytes(frame.planes[0])[: frame.samples * 2] for frame in frames)
        except (av.FFmpegError, ValueError):
            return b""


def _rtp(packet: bytes) -> tuple[int, int, int, int, int] | None:
    """Return payload type, time stamp, SSRC, and where the payload begins and ends; None where it is no RTP."""
    if len(packet) < 12 or packet[0] >> 6 != 2:  # noqa: PLR2004  # RFC 3550, section 5.1
        return None
    kind = packet[1] & 0x7F
    if kind in _RTCP:
        return None
    stamp, ssrc = struct.unpack(">II", packet[4:12])
    start, stop = 12 + 4 * (packet[0] & 15), len(packet)
    if packet[0] & 0x10:
        if start + 4 > stop:
            return None
        start += 4 + 4 * int.from_bytes(packet[start + 2 : start + 4])
    if packet[0] & 0x20:
        stop -= packet[-1]
    return (kind, stamp, ssrc, start, stop) if start <= stop else None


def _linear(payload: bytes, kind: int, times: int) -> bytes:
    """Return G.711 as 16-bit PCM, each sample as often as the rate is higher than that of G.711."""
    low, high = _TABLES[kind]
    pcm = bytearray(2 * times * len(payload))
    for one in range(times):
        pcm[2 * one :: 2 * times] = payload.translate(low)
        pcm[2 * one + 1 :: 2 * times] = payload.translate(high)
    return bytes(pcm)


def _expand_mu(code: int) -> int:
    """Return the sample of a mu-law code (ITU-T G.711, table 2a)."""
    code = ~code & 0xFF
    value = (((code & 15) << 3) + 0x84) << (code >> 4 & 7)
    return 0x84 - value if code & 0x80 else value - 0x84


def _expand_a(code: int) -> int:
    """Return the sample of an A-law code (ITU-T G.711, table 1a)."""
    code ^= 0x55
    value, segment = (code & 15) << 4, code >> 4 & 7
    value = value + 8 if segment == 0 else (value + 0x108) << (segment - 1)
    return value if code & 0x80 else -value


def _table(samples: list[int]) -> tuple[bytes, bytes]:
    pairs = [struct.pack("<h", one) for one in samples]
    return bytes(pair[0] for pair in pairs), bytes(pair[1] for pair in pairs)


_TABLES: Final = {
    _PCMU: _table([_expand_mu(code) for code in range(256)]),
    _PCMA: _table([_expand_a(code) for code in range(256)]),
}
