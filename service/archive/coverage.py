"""Coverage: which parts of a content were sent, and which were heard, as short lists of half-open intervals.

Sent is counted in bytes of the content, heard in milliseconds of the recording. The two meet in `decide_heard`:
what a player reports counts only where the server sent it, and only as much as the clock allows.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

Interval = tuple[int, int]
Intervals = tuple[Interval, ...]

MAX_INTERVALS: Final = 256
"""More pieces than this are not told apart: the shortest are left out, never gaps filled."""

MAX_PLAYBACK_SPEED: Final = 2
"""The fastest that the player plays; nobody hears more than this many seconds in a second."""

_TEXT: Final = re.compile(
    r"(?:[0-9]{1,18}-[0-9]{1,18}(?:,[0-9]{1,18}-[0-9]{1,18})*)?", re.ASCII
)


def merge(*lists: Iterable[Interval]) -> Intervals:
    """Return the union, in order; intervals that touch become one and empty ones vanish."""
    merged: list[Interval] = []
    for start, stop in sorted(interval for intervals in lists for interval in intervals):
        if start >= stop:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    if len(merged) > MAX_INTERVALS:
        # To claim less than was covered is safe; to fill a gap would claim what was not.
        longest = sorted(merged, key=lambda one: one[0] - one[1])[:MAX_INTERVALS]
        merged = sorted(longest)
    return tuple(merged)


def intersect(left: Sequence[Interval], right: Sequence[Interval]) -> Intervals:
    """Return what lies in both; both are merged."""
    found = []
    i = j = 0
    while i < len(left) and j < len(right):
        start, stop = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if start < stop:
            found.append((start, stop))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return tuple(found)


def subtract(left: Sequence[Interval], right: Sequence[Interval]) -> Intervals:
    """Return what lies in ``left`` and not in ``right``; both are merged."""
    rest = []
    for first, last in left:
        start = first
        for gap_start, gap_stop in right:
            if gap_stop <= start or gap_start >= last:
                continue
            if gap_start > start:
                rest.append((start, gap_start))
            start = gap_stop
        if start < last:
            rest.append((start, last))
    return tuple(rest)


def total(intervals: Iterable[Interval]) -> int:
    """Return how much merged ``intervals`` cover."""
    return sum(stop - start for start, stop in intervals)


def take(intervals: Iterable[Interval], budget: int) -> Intervals:
    """Return the beginning of ``intervals``, at most ``budget`` of it."""
    taken = []
    for start, stop in intervals:
        if budget <= 0:
            break
        taken.append((start, min(stop, start + budget)))
        budget -= stop - start
    return tuple(taken)


def format_intervals(intervals: Iterable[Interval]) -> str:
    """Return ``0-65536,131072-200000``: starts included, ends not."""
    return ",".join(f"{start}-{stop}" for start, stop in intervals)


def parse_intervals(text: str) -> Intervals:
    """Return what ``format_intervals`` wrote.

    Raises:
        ValueError: It is anything else.
    """
    if not _TEXT.fullmatch(text):
        raise ValueError("not a list of intervals")
    pairs = (part.split("-") for part in text.split(",") if part)
    intervals = tuple((int(start), int(stop)) for start, stop in pairs)
    if merge(intervals) != intervals:
        raise ValueError("the intervals are not merged")
    return intervals


@dataclass(frozen=True, slots=True)
class Heard:
    """What was heard of a recording (milliseconds), and when a player last reported (microseconds)."""

    intervals: Intervals
    reported_at: int

    def format(self) -> str:
        """Return the text that a row keeps."""
        return f"{format_intervals(self.intervals)}@{self.reported_at}"

    @classmethod
    def parse(cls, text: str, *, opened_at: int) -> "Heard":
        """Return what ``format`` wrote; an empty text means that nothing was reported since ``opened_at``.

        Raises:
            ValueError: It is anything else.
        """
        if not text:
            return cls((), opened_at)
        intervals, _, reported_at = text.partition("@")
        return cls(parse_intervals(intervals), int(reported_at))


def sent_milliseconds(
    sent: Sequence[Interval], *, size_bytes: int, duration_ms: int
) -> Intervals:
    """Return which part of the recording the bytes ``sent`` are.

    They are taken as evenly spread over its duration. That is exact for telephone encodings and close for the
    others; the whole is the whole for each.
    """
    if size_bytes <= 0:
        return ()
    return merge(
        (start * duration_ms // size_bytes, -(-stop * duration_ms // size_bytes))
        for start, stop in sent
    )


def decide_heard(
    known: Heard, told: Sequence[Interval], *, sent: Sequence[Interval], now: int
) -> Heard:
    """Decide what counts as heard after a player told what it played.

    ``told`` and ``sent`` are milliseconds, ``now`` is microseconds. Only what was sent counts, and of what is
    new, only as much as can have been played since the last report; a player that tells everything each time
    loses nothing.
    """
    plausible = intersect(merge(told), merge(sent))
    new = subtract(plausible, known.intervals)
    elapsed_ms = max(0, now - known.reported_at) // 1000
    counted = take(new, elapsed_ms * MAX_PLAYBACK_SPEED)
    return Heard(merge(known.intervals, counted), max(now, known.reported_at))
