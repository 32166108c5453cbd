"""What the adapters of chat platforms have in common."""

import re
import unicodedata
from typing import Final
from urllib.parse import urlsplit

from service.domain.identifiers import MAX_IDENTIFIER_CHARACTERS

_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_EXTENSION: Final = re.compile(r"\.?([A-Za-z0-9]{1,8})", re.ASCII)


def readable(text: str) -> str:
    """Return ``text`` in NFC, with what cannot be stored (NUL, lone surrogates) shown as U+FFFD."""
    return unicodedata.normalize("NFC", _UNSTORABLE.sub("\ufffd", text))


def plain_name(text: str) -> str:
    """Return a name on one line, of bounded length, without characters that steer."""
    shown = "".join(c if c.isprintable() else " " for c in readable(text))
    return " ".join(shown.split())[:MAX_IDENTIFIER_CHARACTERS].strip()


LEFT_OUT: Final = "parts_left_out"
"""The remark on what has parts for which a contact has no place: they go with the delivery."""
MAX_FILES: Final = 100
"""So many files of a message are fetched."""


_TEXTS: Final = frozenset(
    {"txt", "csv", "tsv", "log", "md", "vcf", "ics", "xml", "svg", "json", "eml"}
)


def is_text_file(name: str) -> bool:
    """Tell whether a file called so is a text. A page is none: whoever is not signed in gets one for any file."""
    return name.rpartition(".")[2] in _TEXTS


def file_name(stem: str, extension: object, url: str = "") -> str:
    """Return the name of a file: what we call it, with the extension that is told, or that its URL ends with."""
    told = extension if isinstance(extension, str) else ""
    try:
        path = urlsplit(url).path
    except ValueError:
        path = ""
    last = path.rpartition("/")[2]
    for one in (told, last.rpartition(".")[2] if "." in last else ""):
        found = _EXTENSION.fullmatch(one)
        if found:
            return f"{stem}.{found[1].lower()}"
    return stem
