"""Draws a waveform: loudness over time as the outline of one SVG path per channel."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

LANE_HEIGHT = 64
"""The height of a lane in the units of its path; its width is one unit for each bar."""

_MAX_BARS = 240
_FULL_SCALE = 255
# Speech is quiet most of the time; on this curve it can be seen without a loud sound leaving the lane.
_CURVE = 0.6
_LEAST = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One channel drawn: ``path`` is the ``d`` of an SVG path in a box ``bars`` wide, ``LANE_HEIGHT`` high."""

    path: str
    bars: int


def draw_lanes(channels: Sequence[bytes]) -> tuple[Lane, ...]:
    """Return a lane for each channel of peaks, 0 to 255 each, drawn to one scale.

    The scale is that of the loudest channel, so that a quiet speaker stays quiet beside a loud one.
    """
    loudest = max((max(peaks, default=0) for peaks in channels), default=0) or _FULL_SCALE
    return tuple(_draw(_joined(peaks), loudest) for peaks in channels)


def _joined(peaks: bytes) -> list[int]:
    """Return at most ``_MAX_BARS`` peaks; each is the largest of those it stands for."""
    if len(peaks) <= _MAX_BARS:
        return list(peaks)
    edges = [len(peaks) * n // _MAX_BARS for n in range(_MAX_BARS + 1)]
    return [max(peaks[a:b]) for a, b in pairwise(edges)]


def _draw(peaks: Sequence[int], loudest: int) -> Lane:
    middle = LANE_HEIGHT / 2
    drawn = []
    for position, peak in enumerate(peaks):
        half = max(_LEAST, (peak / loudest) ** _CURVE * middle)
        drawn.append(f"M{position}.5 {middle - half:.1f}v{2 * half:.1f}")
    return Lane(path="".join(drawn), bars=max(1, len(peaks)))
