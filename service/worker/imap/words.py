"""What is said over IMAP: arguments of commands, and what lines of answers tell (RFC 9051; RFC 3501)."""

import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import groupby
from typing import Final

from service.domain.errors import InvalidInputError

MAX_UID: Final = 2**32 - 1

_MONTHS: Final = (
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
)
_DATE: Final = re.compile(
    rb"([ 0-3]?\d)-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)", re.ASCII
)
_CODE: Final = re.compile(rb"\* OK \[(UIDVALIDITY|UIDNEXT) (\d{1,10})\]", re.IGNORECASE)
_FETCH: Final = re.compile(rb"\* \d{1,10} FETCH \(", re.IGNORECASE)
_SEARCH: Final = re.compile(rb"\* SEARCH(?= |$)", re.IGNORECASE)
_NUMBER: Final = re.compile(rb"\d{1,10}")
_BODY: Final = re.compile(
    rb"BODY\[\] (?:\{(\d{1,15})\}|(NIL)|\"((?:[^\"\\]|\\.)*)\")", re.IGNORECASE
)
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|[()]|[^\s()"]+')
_SAID: Final = re.compile(rb"\S+ (?:OK|NO|BAD|BYE|PREAUTH)\b", re.IGNORECASE)
_LITERAL: Final = re.compile(rb"\{(\d{1,15})\}$")


@dataclass(frozen=True, slots=True)
class Described:
    """A mail in a mailbox: how large the server says it is, and when it came there, where it says so."""

    uid: int
    size_bytes: int
    arrived_at: datetime | None


@dataclass(frozen=True, slots=True)
class BodyPart:
    """How a mail begins to come: ``size_bytes`` follow, or it is ``text``, all of it; neither: it is gone."""

    size_bytes: int | None
    text: bytes | None


def quoted(text: str) -> bytes:
    """Return ``text`` as a quoted string (RFC 9051, section 4.3).

    Raises:
        InvalidInputError: It has characters that such a string cannot hold. The detail does not repeat it.
    """
    if not (text.isascii() and text.isprintable()):
        raise InvalidInputError("this mail server takes printable ASCII alone here")
    return b'"' + re.sub(rb'(["\\])', rb"\\\1", text.encode("ascii")) + b'"'


def encode_mailbox(name: str) -> bytes:
    """Return the name of a mailbox as it is sent, in modified UTF-7 (RFC 3501, section 5.1.3)."""
    return quoted("".join(_encoded_runs(name)))


def _encoded_runs(name: str) -> Iterator[str]:
    for is_plain, run in groupby(name, lambda letter: " " <= letter <= "~"):
        text = "".join(run)
        if is_plain:
            yield text.replace("&", "&-")
        else:
            packed = b64encode(text.encode("utf-16-be"), b"+,").rstrip(b"=")
            yield f"&{packed.decode('ascii')}-"


def parse_capabilities(line: bytes) -> frozenset[bytes]:
    """Return what an answer says that the server can do, in capitals; nothing where it speaks of something else."""
    words = line.upper().split()
    return frozenset(words[2:]) if words[:2] == [b"*", b"CAPABILITY"] else frozenset()


def parse_code(line: bytes) -> tuple[str, int] | None:
    """Return what an answer says of a mailbox, ``UIDVALIDITY`` or ``UIDNEXT``, and its number; None for others."""
    found = _CODE.match(line)
    return None if found is None else (found[1].decode("ascii").upper(), int(found[2]))


def is_search(line: bytes) -> bool:
    """Tell whether a line answers a search, if only with nothing."""
    return _SEARCH.match(line) is not None


def find_uids(line: bytes) -> Iterator[int]:
    """Yield the numbers that an answer to a search names."""
    found = _SEARCH.match(line)
    if found is not None:
        for number in _NUMBER.finditer(line, found.end()):
            yield int(number[0])


def parse_described(line: bytes) -> Described | None:
    """Return what an answer tells of a mail; None where it does not tell its UID and size."""
    told = parse_attributes(line)
    uid, size = told.get(b"UID", b""), told.get(b"RFC822.SIZE", b"")
    if not (uid.isdigit() and size.isdigit()):
        return None
    arrived_at = parse_internal_date(told.get(b"INTERNALDATE", b""))
    return Described(int(uid), int(size), arrived_at)


def parse_attributes(line: bytes) -> Mapping[bytes, bytes]:
    """Return the attributes of an answer to FETCH by name, in capitals; those that are lists are left out."""
    found = _FETCH.match(line)
    told: dict[bytes, bytes] = {}
    if found is None:
        return told
    name, depth = b"", 0
    for token in (match[0] for match in _TOKEN.finditer(line, found.end())):
        if token in {b"(", b")"}:
            depth += 1 if token == b"(" else -1
            name = b""
            if depth < 0:
                break
        elif depth == 0 and not name:
            name = token.upper()
        elif depth == 0:
            told[name] = token.strip(b'"')
            name = b""
    return told


def parse_body(line: bytes) -> BodyPart | None:
    """Return how the mail begins that an answer brings; None where it brings none."""
    if _FETCH.match(line) is None:
        return None
    found = _BODY.search(line)
    if found is None:
        return None
    size, _, text = found.groups()
    if size is not None:
        return BodyPart(int(size), None)
    return BodyPart(None, None if text is None else re.sub(rb"\\(.)", rb"\1", text))


def parse_literal(line: bytes) -> tuple[bytes, int] | None:
    """Return what stands before a literal that begins at the end of ``line``, and how long it is; None without one.

    What the server says to people may end likewise, and nothing follows it.
    """
    found = None if _SAID.match(line) else _LITERAL.search(line)
    return None if found is None else (line[: found.start()], int(found[1]))


def parse_internal_date(text: bytes) -> datetime | None:
    """Return when a mail came to its mailbox, in UTC: ``22-Nov-2026 11:54:07 +0200``; None for anything else."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, hours, minutes = found.groups()
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    try:
        at = datetime(
            int(year),
            _MONTHS.index(month.decode("ascii").lower()) + 1,
            int(day),
            int(hour),
            int(minute),
            int(second),
            tzinfo=timezone(-offset if sign == b"-" else offset),
        )
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
