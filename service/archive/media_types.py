"""What a file of a media type is usually called."""

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


def suffix_of(content_type: str) -> str:
    """Return the suffix of ``content_type``, empty when it has none that is known."""
    return SUFFIXES.get(content_type.partition(";")[0].strip().lower(), "")
