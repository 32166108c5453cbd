"""The headers of tus 1.0, read strictly: what cannot be understood is refused, and nothing is guessed."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.archive.incoming import ALGORITHMS, Checksum
from service.domain.errors import InvalidInputError, NotFoundError
from service.domain.ids import parse_id

VERSION: Final = "1.0.0"
BASE: Final = "/api/v1/uploads"
MAX_PARTIALS: Final = 100
"""Of so many partial uploads one can be made."""

_NUMBER: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_KEY: Final = re.compile(r"[!-+\--~]{1,255}", re.ASCII)
_PLACE: Final = re.compile(
    r"(?:https?://[^/\s]{1,255})?" + BASE + r"/([a-z0-9_]{1,40})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Concat:
    """What an upload is a part of, or made of: ``kind`` is ``whole``, ``partial`` or ``final`` (of ``ids``)."""

    kind: str
    ids: tuple[str, ...] = ()


def parse_number(text: str, *, what: str) -> int:
    """Return a number of bytes.

    Raises:
        InvalidInputError: ``text`` is none.
    """
    if not _NUMBER.fullmatch(text):
        raise InvalidInputError(f"{what}: a number of bytes")
    return int(text)


def parse_metadata(text: str) -> Mapping[str, str]:
    """Return ``Upload-Metadata``: each key with its value as text. Nothing at all is no metadata (as tuspy sends it).

    Raises:
        InvalidInputError: A pair is not a key and base64 of UTF-8, or a key is given twice.
    """
    found: dict[str, str] = {}
    for pair in text.split(",") if text.strip() else ():
        key, _, value = pair.strip(" \t").partition(" ")
        if not _KEY.fullmatch(key) or key in found:
            raise InvalidInputError("Upload-Metadata: keys of ASCII, each once")
        try:
            found[key] = base64.b64decode(value.strip(" \t"), validate=True).decode()
        except (binascii.Error, ValueError):
            raise InvalidInputError("Upload-Metadata: values in base64 of UTF-8") from None
    return found


def parse_checksum(text: str) -> Checksum:
    """Return ``Upload-Checksum``.

    Raises:
        InvalidInputError: The algorithm is not known here, or the rest is no base64.
    """
    algorithm, _, encoded = text.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise InvalidInputError(f"Upload-Checksum: one of {', '.join(ALGORITHMS)}")
    try:
        return Checksum(algorithm, base64.b64decode(encoded.strip(), validate=True))
    except (binascii.Error, ValueError):
        raise InvalidInputError("Upload-Checksum: the checksum in base64") from None


def parse_concat(text: str | None) -> Concat:
    """Return ``Upload-Concat``; a whole upload where there is none.

    Raises:
        InvalidInputError: It is neither ``partial`` nor ``final`` with the addresses of uploads.
        NotFoundError: An address is of no upload.
    """
    if text is None:
        return Concat("whole")
    kind, _, rest = text.strip().partition(";")
    places = rest.split()
    if kind == "partial" and not rest:
        return Concat("partial")
    if kind != "final" or not places or len(places) > MAX_PARTIALS:
        raise InvalidInputError(
            f"Upload-Concat: partial, or final; and up to {MAX_PARTIALS} uploads"
        )
    return Concat("final", _ids(places))


def _ids(places: Sequence[str]) -> tuple[str, ...]:
    """Return the ids of uploads that are named by their addresses; of which host does not matter."""
    matches = [_PLACE.fullmatch(place) for place in places]
    if not all(matches):
        raise NotFoundError("no such upload")
    return tuple(parse_id("up", match[1]) for match in matches if match)


def format_concat(kind: str, ids: Sequence[str]) -> str:
    """Return ``Upload-Concat`` of a partial or final upload."""
    return kind if kind == "partial" else "final;" + " ".join(f"{BASE}/{one}" for one in ids)
