"""The chunks of a WAV file, read without believing them.

A WAV file is a RIFF form of chunks in any order, each padded to an even length (Multimedia
Programming Interface and Data Specifications 1.0; RF64 and its 64-bit sizes: EBU Tech 3306).
Recorders that stream leave the length of the data chunk 0 or 0xFFFFFFFF.

The decoder is shown only a canonical file of one ``fmt`` and one ``data`` chunk, so nothing
else that a file contains ever reaches it.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

ReadAt = Callable[[int, int], bytes]
"""Bytes from an offset, as many as asked for unless the end of the file comes first."""

_MAX_CHUNKS = 1000
_MAX_FORMAT_BYTES = 1024
_FORMAT = struct.Struct("<HHIIHH")
_CHUNK = struct.Struct("<4sI")
_RIFF_BYTES = 12
_UNKNOWN_LENGTH = 0xFFFFFFFF
_SAMPLE_TAGS = frozenset({1, 3, 6, 7})
"""PCM, float, A-law and mu-law: every sample has a fixed number of bits."""
_EXTENSIBLE = 0xFFFE


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Where the sound is, and what is wrong around it.

    ``fmt`` is the format chunk's content. ``data_bytes`` is what is really there;
    ``claimed`` is the duration by the header in seconds, None when it gives none.
    ``is_truncated`` says that the data chunk, or the file, ends early.
    """

    fmt: bytes
    data_offset: int
    data_bytes: int
    claimed: Fraction | None
    is_truncated: bool
    problems: tuple[str, ...]


class NotWaveError(Exception):
    """There is no sound to be found; ``problem`` is the code that says why."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class _Chunk:
    tag: bytes
    offset: int
    claimed_bytes: int


def is_wave(head: bytes) -> bool:
    """Say whether a file that begins with ``head`` calls itself WAV."""
    return head[:4] in {b"RIFF", b"RF64", b"BW64"} and head[8:12] == b"WAVE"


def parse_wave(read_at: ReadAt, size_bytes: int) -> Wave:
    """Find format and data in a WAV file of ``size_bytes``.

    Raises:
        NotWaveError: Format or data chunk is missing, or the format is impossible.
    """
    chunks = _read_chunks(read_at, size_bytes)
    fmt = _find(chunks, b"fmt ", missing="wav.no_format")
    data = _find(chunks, b"data", missing="wav.no_data")
    problems = set()
    if fmt.offset > data.offset:
        problems.add("wav.format_after_data")
    format_bytes = read_at(fmt.offset, min(fmt.claimed_bytes, _MAX_FORMAT_BYTES))
    bytes_per_second, frame_bytes, is_sampled = _rates(format_bytes)
    available = size_bytes - data.offset
    claimed_bytes = _claimed_data_bytes(read_at, chunks, data, size_bytes)
    data_bytes = available if claimed_bytes is None else min(claimed_bytes, available)
    is_truncated = claimed_bytes is not None and claimed_bytes > available
    if is_sampled and data_bytes % frame_bytes:
        problems.add("wav.partial_frame")
    if claimed_bytes is None:
        # What follows the data chunk's header is sound, not chunks; nothing to find wrong.
        problems.add("wav.data_length_unknown")
    elif is_truncated:
        problems.add("wav.data_past_end")
    elif _ends_early(chunks[-1], size_bytes):
        problems.add("wav.chunk_past_end")
    elif _trailing(chunks[-1], size_bytes):
        problems.add("wav.trailing_bytes")
    claimed = None if is_sampled else _stated_seconds(read_at, chunks, format_bytes)
    if claimed is None and claimed_bytes is not None:
        claimed = Fraction(claimed_bytes, bytes_per_second)
    return Wave(
        fmt=format_bytes,
        data_offset=data.offset,
        data_bytes=data_bytes - data_bytes % frame_bytes,
        claimed=claimed,
        is_truncated=is_truncated,
        problems=tuple(sorted(problems)),
    )


def wave_header(fmt: bytes, data_bytes: int) -> bytes:
    """Return the start of a canonical WAV file; ``data_bytes`` of sound follow it.

    More than the 32-bit length field can say is written as an unknown length.
    """
    padded = fmt + b"\0" * (len(fmt) % 2)
    data_length = min(data_bytes, _UNKNOWN_LENGTH)
    riff_length = min(4 + 8 + len(padded) + 8 + data_bytes + data_bytes % 2, _UNKNOWN_LENGTH)
    return b"".join(
        (
            _CHUNK.pack(b"RIFF", riff_length),
            b"WAVE",
            _CHUNK.pack(b"fmt ", len(fmt)),
            padded,
            _CHUNK.pack(b"data", data_length),
        )
    )


def pcm_format(*, channels: int, sample_rate_hz: int) -> bytes:
    """Return the format chunk of 16-bit PCM; extensible, as it must be, beyond two channels."""
    frame_bytes = 2 * channels
    rates = (channels, sample_rate_hz, sample_rate_hz * frame_bytes, frame_bytes, 16)
    if channels <= 2:  # noqa: PLR2004  # WAVEFORMATEX covers mono and stereo
        return _FORMAT.pack(1, *rates)
    # No speaker position is claimed: the order of channels is all that a recorder promises.
    guid = b"\1\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    return _FORMAT.pack(_EXTENSIBLE, *rates) + struct.pack("<HHI", 22, 16, 0) + guid


def _read_chunks(read_at: ReadAt, size_bytes: int) -> list[_Chunk]:
    chunks: list[_Chunk] = []
    offset = _RIFF_BYTES
    while len(chunks) < _MAX_CHUNKS and offset + _CHUNK.size <= size_bytes:
        tag, length = _CHUNK.unpack(read_at(offset, _CHUNK.size))
        chunks.append(_Chunk(tag, offset + _CHUNK.size, length))
        offset += _CHUNK.size + length + length % 2
    return chunks


def _find(chunks: list[_Chunk], tag: bytes, *, missing: str) -> _Chunk:
    for chunk in chunks:
        if chunk.tag == tag:
            return chunk
    raise NotWaveError(missing)


def _rates(fmt: bytes) -> tuple[int, int, bool]:
    """Return bytes per second, bytes per frame, and whether a frame is one sample per channel.

    Encoders that work in blocks count the padding of the last one either way, so only there
    is a rest no fault.
    """
    if len(fmt) < _FORMAT.size:
        raise NotWaveError("wav.format_too_short")
    tag, channels, rate, average, align, bits = _FORMAT.unpack_from(fmt)
    if not channels:
        raise NotWaveError("wav.no_channels")
    if not rate:
        raise NotWaveError("wav.no_sample_rate")
    is_sampled = tag in _SAMPLE_TAGS or tag == _EXTENSIBLE
    if is_sampled:
        if not bits:
            raise NotWaveError("wav.no_sample_bits")
        # The other fields follow from these two; where they disagree, these are decoded by.
        align = channels * ((bits + 7) // 8)
        average = rate * align
    if not average or not align:
        raise NotWaveError("wav.no_byte_rate")
    return average, align, is_sampled


def _claimed_data_bytes(
    read_at: ReadAt, chunks: list[_Chunk], data: _Chunk, size_bytes: int
) -> int | None:
    """Return the length that the header gives the data chunk; None for "until the end"."""
    if data.claimed_bytes == _UNKNOWN_LENGTH:
        return _rf64_data_bytes(read_at, chunks)
    if data.claimed_bytes == 0 and data.offset < size_bytes:
        # Empty on purpose if well-formed chunks follow and fill the file; else never filled in.
        last = chunks[-1]
        follows = last is not data and not _ends_early(last, size_bytes)
        return 0 if follows and not _trailing(last, size_bytes) else None
    return data.claimed_bytes


def _rf64_data_bytes(read_at: ReadAt, chunks: list[_Chunk]) -> int | None:
    if chunks[0].tag != b"ds64":
        return None
    sizes = read_at(chunks[0].offset, 16)
    length = int.from_bytes(sizes[8:16], "little")
    return length if len(sizes) == 16 and length else None  # noqa: PLR2004  # two 64-bit sizes


def _stated_seconds(read_at: ReadAt, chunks: list[_Chunk], fmt: bytes) -> Fraction | None:
    """Return the duration by the fact chunk, which counts samples where bytes cannot tell."""
    rate = _FORMAT.unpack_from(fmt)[2]
    for chunk in chunks:
        if chunk.tag == b"fact":
            samples = int.from_bytes(read_at(chunk.offset, 4), "little")
            return Fraction(samples, rate) if 0 < samples < _UNKNOWN_LENGTH else None
    return None


def _ends_early(last: _Chunk, size_bytes: int) -> bool:
    return (
        last.claimed_bytes != _UNKNOWN_LENGTH and last.offset + last.claimed_bytes > size_bytes
    )


def _trailing(last: _Chunk, size_bytes: int) -> bool:
    return last.offset + last.claimed_bytes + last.claimed_bytes % 2 < size_bytes
