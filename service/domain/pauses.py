"""Pauses of a recording: for a time nothing was recorded, on purpose. That is a fact, and never a recording lost."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Final

MAX_PAUSES: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordingPause:
    """That the recording called ``recording`` was paused.

    ``ended_at`` is None while nobody says that it went on. ``start_seconds`` and ``end_seconds`` are where in the
    recording the pause lies, where that is known; they are the same when the recording leaves the time out.
    """

    recording: str
    started_at: datetime
    reason: str
    ended_at: datetime | None = None
    who: str | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PausePlace:
    """From where to where in a recording a pause lies, in seconds; what is not exact is reckoned from times of day."""

    start: float
    stop: float
    is_exact: bool


def merge_pauses(
    archived: Sequence[RecordingPause], told: Sequence[RecordingPause]
) -> tuple[tuple[RecordingPause, ...], bool]:
    """Return the archived pauses, completed by and extended with those ``told``, and whether any contradicts.

    Two are one when their recording and their start are. What differs from the archived changes nothing of that pause;
    those beyond ``MAX_PAUSES`` are left out, which is a contradiction too.
    """
    pauses = {(one.recording, one.started_at): one for one in archived}
    is_contradicted = False
    for one in told:
        known = pauses.setdefault((one.recording, one.started_at), one)
        completed = _completed(known, one)
        is_contradicted |= completed is None
        pauses[one.recording, one.started_at] = completed or known
    merged = sorted(pauses.values(), key=lambda one: (one.started_at, one.recording))
    if len(merged) > MAX_PAUSES:
        return tuple(archived), True
    return tuple(merged), is_contradicted


def _completed(known: RecordingPause, told: RecordingPause) -> RecordingPause | None:
    """Return ``known`` with what only ``told`` says; None when they differ."""
    values = {}
    for name in (field.name for field in fields(known)):
        before, now = getattr(known, name), getattr(told, name)
        if before is None:
            values[name] = now
        elif now not in {None, before}:
            return None
    return replace(known, **values)


def place_pause(
    pause: RecordingPause, *, call_started_at: datetime, duration_seconds: float
) -> PausePlace | None:
    """Return where in a recording of ``duration_seconds`` the pause lies; None where it is not within it.

    Without a place of its own it is reckoned as if the recording had begun with the call, and without an end of that as
    if silence stood for what was not recorded. One that nobody ended lasts to the end.
    """
    start, stop = pause.start_seconds, pause.end_seconds
    is_exact = start is not None and (stop is not None or pause.ended_at is None)
    if start is None:
        start = (pause.started_at - call_started_at).total_seconds()
    if stop is None:
        stop = duration_seconds
        if pause.ended_at is not None:
            stop = start + (pause.ended_at - pause.started_at).total_seconds()
    if stop < 0 or start > duration_seconds:
        return None
    return PausePlace(max(start, 0.0), min(stop, duration_seconds), is_exact)
