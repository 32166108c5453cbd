"""Peaks follow the sound, stay small, and read back exactly."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.errors import InvalidInputError
from service.worker.media.peaks import (
    MAX_BUCKETS,
    PeakMeter,
    Peaks,
    decode_peaks,
    encode_peaks,
)


def test_the_encoded_form_is_as_documented():
    peaks = Peaks(sample_rate_hz=8000, samples_per_bucket=160, channels=(b"\1\2", b"\3\4"))
    assert encode_peaks(peaks) == bytes.fromhex("01 02 00001f40 000000a0 00000002 0102 0304")


@given(
    channels=st.integers(1, 32).flatmap(
        lambda count: st.integers(0, 20).flatmap(
            lambda buckets: st.tuples(*[st.binary(min_size=buckets, max_size=buckets)] * count)
        )
    ),
    rate=st.integers(1, 2**32 - 1),
    samples=st.integers(1, 2**32 - 1),
)
def test_peaks_read_back_exactly(channels, rate, samples):
    peaks = Peaks(sample_rate_hz=rate, samples_per_bucket=samples, channels=channels)
    assert decode_peaks(encode_peaks(peaks)) == peaks


GOOD = encode_peaks(Peaks(sample_rate_hz=8000, samples_per_bucket=160, channels=(b"ab", b"cd")))


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(GOOD[:13], id="half a header"),
        pytest.param(b"\2" + GOOD[1:], id="another version"),
        pytest.param(GOOD + b"x", id="a byte too many"),
        pytest.param(GOOD[:-1], id="a byte too few"),
        pytest.param(struct.pack(">BBIII", 1, 0, 8000, 160, 0), id="no channels"),
        pytest.param(struct.pack(">BBIII", 1, 33, 8000, 160, 0), id="too many channels"),
        pytest.param(struct.pack(">BBIII", 1, 1, 0, 160, 1) + b"x", id="no rate"),
        pytest.param(struct.pack(">BBIII", 1, 1, 8000, 0, 1) + b"x", id="empty buckets"),
        pytest.param(struct.pack(">BBIII", 1, 1, 1, 1, 4001) + bytes(4001), id="too many"),
    ],
)
def test_other_bytes_are_refused(encoded):
    with pytest.raises(InvalidInputError):
        decode_peaks(encoded)


def test_silence_is_0_and_full_scale_255_in_either_direction():
    meter = PeakMeter(channels=2, sample_rate_hz=100)
    meter.add([bytes([127, 128, 255, 128]), bytes([0, 128, 127, 128])])
    assert meter.result().channels == (b"\0\xff", b"\xff\0")


@settings(max_examples=40)
@given(frames=st.lists(st.binary(max_size=400), max_size=30))
def test_where_the_frames_end_makes_no_difference(frames):
    together = PeakMeter(channels=1, sample_rate_hz=1000)
    together.add([b"".join(frames)])
    apart = PeakMeter(channels=1, sample_rate_hz=1000)
    for frame in frames:
        apart.add([frame])
    assert apart.result() == together.result()


def test_a_long_sound_is_drawn_coarser_and_loses_no_peak():
    meter = PeakMeter(channels=1, sample_rate_hz=50)
    loud_at = 12_345
    for start in range(0, 20_000, 100):
        plane = bytearray(b"\x80" * 100)
        if start <= loud_at < start + 100:
            plane[loud_at - start] = 255
        meter.add([bytes(plane)])
    peaks = meter.result()
    (channel,) = peaks.channels
    assert peaks.samples_per_bucket == 8
    assert len(channel) == 2500 <= MAX_BUCKETS
    assert [n for n, loudness in enumerate(channel) if loudness] == [loud_at // 8]
