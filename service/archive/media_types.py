"""What recordings are: their media types, and what files of these are usually called."""

from collections.abc import Mapping
from typing import Final

SUFFIXES: Final = {
    "audio/aac": ".aac",
    "audio/basic": ".ul",
    "audio/flac": ".flac",
    "audio/gsm": ".gsm",
    "audio/mp4": ".m4a",
    "audio/mpeg": ".mp3",
    "audio/ogg": ".ogg",
    "audio/opus": ".opus",
    "audio/wav": ".wav",
    "audio/webm": ".webm",
    "audio/x-wav": ".wav",
    "text/plain": ".txt",
}

_CONTAINERS: Final = {
    "aac": "audio/aac",
    "flac": "audio/flac",
    "mp3": "audio/mpeg",
    "mp4": "audio/mp4",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "webm": "audio/webm",
}
_SAYS_NOTHING: Final = frozenset({"", "application/octet-stream"})


def type_of(claimed: str, facts: Mapping[str, object] | None) -> str:
    """Return the media type of a recording: as its source ``claimed``, or else as its bytes are known to be.

    Some systems send every file as bytes and nothing more; not every browser plays what is called so.
    """
    if claimed.strip().lower() not in _SAYS_NOTHING or facts is None:
        return claimed
    return _CONTAINERS.get(str(facts.get("container")), claimed)


def suffix_of(content_type: str) -> str:
    """Return the suffix of ``content_type``, empty when it has none that is known."""
    return SUFFIXES.get(content_type.partition(";")[0].strip().lower(), "")
