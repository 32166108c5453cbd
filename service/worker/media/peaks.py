"""The waveform of a recording: how loud each channel is over time, small enough to draw.

Encoded form (version 1, numbers unsigned and big-endian)::

    1 byte    version, 1
    1 byte    channels, 1 to 32
    4 bytes   sample rate in Hz
    4 bytes   samples in a bucket
    4 bytes   buckets in each channel, at most 4000
    then, channel after channel, one byte for each bucket: the largest distance from silence
    within the bucket on a linear scale, 0 for silence and 255 for full scale

The last bucket may be shorter than the others. Bucket ``n`` begins at
``n * samples_per_bucket / sample_rate_hz`` seconds.
"""

import struct
from dataclasses import dataclass

from service.domain.errors import InvalidInputError

MAX_BUCKETS = 4000
MAX_CHANNELS = 32
_FIRST_BUCKETS_PER_SECOND = 50
_VERSION = 1
_HEADER = struct.Struct(">BBIII")
# An unsigned 8-bit sample rests between 127 and 128; this gives its distance from there.
_DISTANCE = bytes(
    round((sample - 128 if sample >= 128 else 127 - sample) * 255 / 127)  # noqa: PLR2004  # half of 256
    for sample in range(256)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Loudness over time; ``channels`` holds one byte string of buckets for each channel."""

    sample_rate_hz: int
    samples_per_bucket: int
    channels: tuple[bytes, ...]


def encode_peaks(peaks: Peaks) -> bytes:
    """Return ``peaks`` in the form that this module describes."""
    header = _HEADER.pack(
        _VERSION,
        len(peaks.channels),
        peaks.sample_rate_hz,
        peaks.samples_per_bucket,
        len(peaks.channels[0]),
    )
    return header + b"".join(peaks.channels)


def decode_peaks(encoded: bytes) -> Peaks:
    """Return the peaks that ``encoded`` holds.

    Raises:
        InvalidInputError: Another version, a number out of range, too short or too long.
    """
    if len(encoded) < _HEADER.size or encoded[0] != _VERSION:
        raise InvalidInputError("not peaks of a known version")
    _, channels, rate, samples, buckets = _HEADER.unpack_from(encoded)
    if not (1 <= channels <= MAX_CHANNELS and rate and samples and buckets <= MAX_BUCKETS):
        raise InvalidInputError("peaks out of range")
    if len(encoded) != _HEADER.size + channels * buckets:
        raise InvalidInputError("peaks of the wrong length")
    starts = (_HEADER.size + channel * buckets for channel in range(channels))
    return Peaks(
        sample_rate_hz=rate,
        samples_per_bucket=samples,
        channels=tuple(encoded[start : start + buckets] for start in starts),
    )


class PeakMeter:
    """Measures peaks as the samples come, in constant memory however many there are.

    Buckets last 20 ms at first. Each time there would be more than ``MAX_BUCKETS`` of them,
    neighbours are joined and a bucket lasts twice as long.
    """

    def __init__(self, *, channels: int, sample_rate_hz: int) -> None:
        self._rate = sample_rate_hz
        self._bucket = max(1, sample_rate_hz // _FIRST_BUCKETS_PER_SECOND)
        self._done = [bytearray() for _ in range(channels)]
        self._pending = [bytearray() for _ in range(channels)]

    def add(self, planes: list[bytes]) -> None:
        """Take the next samples, unsigned 8-bit, one plane of equal length per channel."""
        for pending, plane in zip(self._pending, planes, strict=True):
            pending.extend(plane.translate(_DISTANCE))
        while len(self._pending[0]) >= self._bucket:
            self._take()

    def result(self) -> Peaks:
        """Return the peaks of everything that was added; nothing may be added afterwards."""
        if self._pending[0]:
            self._take()
        return Peaks(
            sample_rate_hz=self._rate,
            samples_per_bucket=self._bucket,
            channels=tuple(bytes(done) for done in self._done),
        )

    def _take(self) -> None:
        if len(self._done[0]) == MAX_BUCKETS:
            self._join_neighbours()
        for done, pending in zip(self._done, self._pending, strict=True):
            done.append(max(pending[: self._bucket]))
            del pending[: self._bucket]

    def _join_neighbours(self) -> None:
        self._bucket *= 2
        for done in self._done:
            done[:] = bytes(map(max, done[::2], done[1::2]))
