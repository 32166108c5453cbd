"""Headers for content that strangers made: nothing of it runs, and nothing of it names a file of ours."""

import re
import unicodedata
from typing import Final
from urllib.parse import quote

SAFE_TYPES: Final = frozenset(
    {
        "audio/aac",
        "audio/basic",
        "audio/flac",
        "audio/g722",
        "audio/gsm",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/opus",
        "audio/wav",
        "audio/webm",
        "audio/x-wav",
        "text/plain",
    }
)
"""Types that are given out as what they claim to be; everything else is bytes."""

_MAX_NAME: Final = 100
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]")
# What RFC 8187, section 3.2.1, lets stand as it is.
_ATTRIBUTE_CHARACTERS: Final = "!#$&+-.^_`|~"
_WORDS: Final = frozenset({"CON", "PRN", "AUX", "NUL", "COM1", "COM2", "LPT1", "LPT2"})


def safe_type(claimed: str) -> str:
    """Return the media type under which content that claims to be ``claimed`` is given out."""
    essence = claimed.partition(";")[0].strip().lower()
    if essence == "text/plain":
        return "text/plain; charset=utf-8"
    return essence if essence in SAFE_TYPES else "application/octet-stream"


def safe_name(name: str, *, otherwise: str) -> str:
    """Return a file name made of ``name``: its last part, without what is unseen or means something."""
    last = re.split(r"[/\\:]", unicodedata.normalize("NFC", name))[-1]
    seen = "".join(c for c in last if unicodedata.category(c)[0] not in {"C", "Z"} or c == " ")
    plain = re.sub(r'[<>"|?*%]', "_", seen).strip(" .")[-_MAX_NAME:].strip(" .")
    if not plain or plain.partition(".")[0].upper() in _WORDS:
        return otherwise
    return plain


def attachment(name: str) -> str:
    """Return a Content-Disposition for a download as ``name`` (RFC 6266; RFC 8187 where it is not plain ASCII)."""
    plain = "".join(c if _PLAIN.match(c) else "_" for c in name)
    if plain == name:
        return f'attachment; filename="{name}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTRIBUTE_CHARACTERS)}"
