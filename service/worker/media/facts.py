"""What the archive knows about a recording after decoding it: values, and their stored form."""

import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from service.domain.errors import InvalidInputError

_VERSION = 1
_MAX_TEXT = 64
_MAX_PROBLEMS = 32


class MediaFlag(StrEnum):
    """Something a listener should know before trusting a recording's length or sound."""

    EMPTY = "empty"
    """Well-formed, or no bytes at all, and without any sound: an unanswered call."""
    GAPS = "gaps"
    """The time stamps leave out stretches: it plays longer than the sound it holds."""
    HEADER_LIES = "header_lies"
    """The length that the header claims is not the length that was decoded."""
    LIMIT_REACHED = "limit_reached"
    """Examining it stopped at a limit: what is known covers only its beginning, or nothing."""
    MALFORMED = "malformed"
    """Breaks the rules of its format."""
    TRUNCATED = "truncated"
    """Ends before its header says it does."""
    UNREADABLE = "unreadable"
    """Nothing in it could be decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """A recording as it was decoded, whatever its header says.

    ``container`` and ``codec`` are empty and the numbers 0 where nothing could be found out.
    ``duration`` counts decoded samples. ``claimed_duration`` is what the header says, None when
    it says nothing. ``problems`` are stable codes, sorted, such as ``wav.data_past_end``; they
    never hold text from the recording. Channels keep the order they have in the recording.
    ``is_browser_playable`` promises that Chromium, Firefox and Safari (18.4 or later) play and
    seek the original as it is.
    """

    container: str = ""
    codec: str = ""
    channels: int = 0
    sample_rate_hz: int = 0
    duration: timedelta = timedelta(0)
    claimed_duration: timedelta | None = None
    flags: frozenset[MediaFlag] = frozenset()
    problems: tuple[str, ...] = ()
    is_browser_playable: bool = False


def unreadable(problem: str, *flags: MediaFlag) -> MediaFacts:
    """Return the facts about a recording of which nothing could be decoded, and why."""
    found = frozenset({MediaFlag.UNREADABLE, *flags})
    return MediaFacts(flags=found, problems=(problem,))


def encode_facts(facts: MediaFacts) -> bytes:
    """Return ``facts`` as JSON with a version; durations in whole microseconds."""
    members: dict[str, Any] = asdict(facts)
    members["duration"] = _microseconds(facts.duration)
    if facts.claimed_duration is not None:
        members["claimed_duration"] = _microseconds(facts.claimed_duration)
    members["flags"] = sorted(facts.flags)
    return json.dumps({"version": _VERSION, **members}, sort_keys=True).encode()


def decode_facts(encoded: bytes) -> MediaFacts:
    """Return the facts that ``encoded`` holds.

    Raises:
        InvalidInputError: Not the form that ``encode_facts`` gives, or a value out of range.
    """
    try:
        members = json.loads(encoded)
        if members.pop("version") != _VERSION:
            raise InvalidInputError("media facts of an unknown version")
        claimed = members["claimed_duration"]
        facts = MediaFacts(
            container=_text(members["container"]),
            codec=_text(members["codec"]),
            channels=_whole(members["channels"]),
            sample_rate_hz=_whole(members["sample_rate_hz"]),
            duration=_duration(members["duration"]),
            claimed_duration=None if claimed is None else _duration(claimed),
            flags=frozenset(MediaFlag(flag) for flag in members["flags"]),
            problems=tuple(_text(problem) for problem in members["problems"]),
            is_browser_playable=members["is_browser_playable"] is True,
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        raise InvalidInputError("not media facts") from None
    if len(facts.problems) > _MAX_PROBLEMS or encode_facts(facts) != encoded:
        raise InvalidInputError("media facts that are not in their one encoding")
    return facts


def _microseconds(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def _duration(value: object) -> timedelta:
    return timedelta(microseconds=_whole(value))


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isascii():
        raise ValueError
    return value
