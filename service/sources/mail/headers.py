"""The headers of a message, read so that nothing in them can stop it: what is wrong with one is left out or cut.

Every function is linear in what it is given, and takes no more of it than it says.
"""

import binascii
import codecs
import quopri
import re
import unicodedata
from datetime import UTC, datetime
from email.policy import Compat32
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from service.domain.times import format_time
from service.sources.mail.facts import (
    MAX_ADDRESSES,
    MAX_NAME_CHARACTERS,
    MAX_REFERENCES,
    MAX_SUBJECT_CHARACTERS,
    Address,
    Flag,
    Headers,
)

if TYPE_CHECKING:
    from email.message import Message

MAX_HEADER_CHARACTERS: Final = 1 << 16
"""So much of one header is read."""

_MAX_WORDS: Final = 2000
_MAX_ADDRESS_CHARACTERS: Final = 320
_WORD: Final = re.compile(
    r"=\?([A-Za-z0-9_.:+-]{1,40})(?:\*[^?]{0,20})?\?([BbQq])\?([^?]{0,8000})\?="
)
_ID: Final = re.compile(r"<([^<>\s]{1,250})>")
_BARE_ID: Final = re.compile(r"[^<>\s,;]{1,250}")
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[()<>,;:]|[^"()<>,;:]+', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_NOT_TEXT: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# These run programs of their own, or take the square of their input's length.
_NOT_CHARSETS: Final = frozenset(
    {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
)
_AUTO_PRECEDENCE: Final = frozenset({"auto_reply", "auto-reply"})
_BULK_PRECEDENCE: Final = frozenset({"bulk", "junk", "list"})
_SERVERS: Final = frozenset({"mailer-daemon", "postmaster", "mailerdaemon"})

Mime: TypeAlias = "Message[str, str]"


class _Bounded(Compat32):
    """Takes of each header what is read of it: the parser's own ways to read parameters are quadratic."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, value[:MAX_HEADER_CHARACTERS]


FAULTS: Final = (ValueError, LookupError, TypeError, AttributeError, OSError)
"""What the library raises for headers that are wrong; a codec that cannot be loaded any more is an OSError."""
BOUNDED: Final = _Bounded()
"""The policy by which messages are parsed."""


def read_headers(message: Mime) -> Headers:
    """Return what the headers of ``message`` say."""
    senders = addresses_of(message, "from")
    date = text_of(message, "date", most=MAX_NAME_CHARACTERS)
    sent_at = parse_date(date)
    return Headers(
        message_id=next(iter(ids_of(message, "message-id")), ""),
        references=_ends(ids_of(message, "references")),
        in_reply_to=ids_of(message, "in-reply-to")[:MAX_REFERENCES],
        subject=text_of(message, "subject", most=MAX_SUBJECT_CHARACTERS),
        date=date,
        sent_at="" if sent_at is None else format_time(sent_at),
        senders=senders,
        reply_to=addresses_of(message, "reply-to"),
        to=addresses_of(message, "to"),
        cc=addresses_of(message, "cc"),
        flags=tuple(_flags(message, senders)),
    )


def values_of(message: Mime, name: str) -> list[str]:
    """Return the headers of ``name`` (small letters) in the clear, unfolded, each cut to what is read of it."""
    return [_unfolded(value) for known, value in message.raw_items() if known.lower() == name]


def text_of(message: Mime, name: str, *, most: int) -> str:
    """Return the first header of ``name`` as text of at most ``most`` characters; nothing where there is none."""
    return next((decode_text(value)[:most] for value in values_of(message, name)), "")


def addresses_of(message: Mime, name: str) -> tuple[Address, ...]:
    """Return whom the headers of ``name`` name, at most ``MAX_ADDRESSES``."""
    found: list[Address] = []
    for value in values_of(message, name):
        found += parse_addresses(value)
    return tuple(found[:MAX_ADDRESSES])


def ids_of(message: Mime, name: str) -> tuple[str, ...]:
    """Return the message ids in the headers of ``name``, each once."""
    found: dict[str, None] = {}
    for value in values_of(message, name):
        ids = _ID.findall(value) or _BARE_ID.findall(value)[:1]
        found |= dict.fromkeys(printable(one) for one in ids)
    return tuple(one for one in found if one)


def parse_date(text: str) -> datetime | None:
    """Return the time that a Date header names (RFC 5322, section 3.3), in UTC; None where it names none."""
    try:
        at = parsedate_to_datetime(text)
        # A time whose zone is not known (-0000) is one in UTC (RFC 5322, section 3.3).
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def parse_addresses(value: str) -> list[Address]:
    """Return the addresses of a header, leniently: whatever has an ``@`` or angle brackets is one.

    Comments are left out; a group's name is, and its members are not (RFC 5322, section 3.4).
    """
    found = []
    for one in _split(value[:MAX_HEADER_CHARACTERS]):
        name, address = one
        address = _plain_address(address)
        if address:
            name = decode_text(name).strip("\"' ")[:MAX_NAME_CHARACTERS]
            found.append(Address(name=name, address=address))
            if len(found) >= MAX_ADDRESSES:
                break
    return found


def decode_text(value: str) -> str:
    """Return ``value`` with its encoded words decoded (RFC 2047), without what is no text: controls, overrides."""
    pieces: list[str] = []
    words: list[bytes] = []
    charset, position = "", 0
    for number, match in enumerate(_WORD.finditer(value)):
        if number >= _MAX_WORDS:
            break
        between = value[position : match.start()]
        # A character may be cut in two between words, which are then one (though RFC 2047, section 5, forbids it).
        if words and (between.strip() or match[1].lower() != charset):
            pieces.append(decode_bytes(b"".join(words), charset))
            words = []
        if between.strip() or position == 0:
            pieces.append(between)
        charset = match[1].lower()
        words.append(_word_bytes(match[2], match[3]))
        position = match.end()
    if words:
        pieces.append(decode_bytes(b"".join(words), charset))
    pieces.append(value[position:])
    return printable("".join(pieces))


def decode_bytes(data: bytes, charset: str) -> str:
    """Return ``data`` as text: as UTF-8 or ISO 8859-1 where ``charset`` is unknown or wrong. NUL is left out."""
    for name in (charset, "utf-8"):
        try:
            info = codecs.lookup(name)
            if info.name in _NOT_CHARSETS or not info._is_text_encoding:  # noqa: SLF001  # there is no other way to ask
                continue
            # UTF-7 can spell halves of characters, which are none.
            text = data.decode(info.name).encode("utf-8", "replace").decode()
            return text.replace("\0", "")
        except FAULTS:
            continue
    # What only claims to be ISO 8859-1 is mostly the one of Windows, which has a few more characters.
    return data.decode("cp1252", "replace").replace("\0", "")


def printable(text: str) -> str:
    """Return ``text`` on one line, in NFC, without controls and marks that change how what follows is read."""
    kept = "".join(" " if c in "\r\n\t" else c for c in text if c in "\r\n\t" or _is_text(c))
    return unicodedata.normalize("NFC", kept).strip()


def _is_text(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) not in _NOT_TEXT


def _unfolded(value: object) -> str:
    text = str(value)[:MAX_HEADER_CHARACTERS]
    if text.isascii():
        return text.replace("\r", "").replace("\n", "")
    # The parser keeps bytes beyond ASCII as lone surrogates.
    data = text.encode("utf-8", "surrogateescape")
    return decode_bytes(data, "utf-8").replace("\r", "").replace("\n", "")


def _ends(ids: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first and the last references: the one names the conversation, the others the nearest messages."""
    return ids if len(ids) <= MAX_REFERENCES else (ids[0], *ids[1 - MAX_REFERENCES :])


def _word_bytes(encoding: str, text: str) -> bytes:
    try:
        if encoding in "Qq":
            return quopri.decodestring(text.replace("_", " ").encode(), header=True)
        return binascii.a2b_base64(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return text.encode()


def _split(value: str) -> list[tuple[str, str]]:
    """Return name and address of each that is listed: one pass, without recursion."""
    found: list[tuple[str, str]] = []
    name: list[str] = []
    address: list[str] | None = None
    depth = 0
    for word in _TOKEN.findall(value):
        if word == "(":
            depth += 1
        elif depth:
            depth -= word == ")"
        elif word in ",;":
            found.append(_pair(name, address))
            name, address = [], None
        elif word == "<":
            address = []
        elif word == ":" and address is None and "@" not in "".join(name):
            # What stood before it is the name of a group.
            name = []
        elif word not in ">)":
            (name if address is None else address).append(_unquoted(word))
    found.append(_pair(name, address))
    return found


def _unquoted(token: str) -> str:
    return _ESCAPED.sub(r"\1", token.strip('"')) if token.startswith('"') else token


def _pair(name: list[str], address: list[str] | None) -> tuple[str, str]:
    if address is None:
        return "", "".join(name)
    return "".join(name), "".join(address)


def _plain_address(text: str) -> str:
    """Return the address without what cannot be in one; nothing where there is none."""
    # A route before the address is obsolete and ignored (RFC 5322, section 4.4).
    plain = (
        printable(text).rpartition(":")[2] if text.lstrip().startswith("@") else printable(text)
    )
    plain = "".join(plain.split())
    return plain[:_MAX_ADDRESS_CHARACTERS] if "@" in plain else ""


def _flags(message: Mime, senders: tuple[Address, ...]) -> list[Flag]:
    flags = []
    auto = text_of(message, "auto-submitted", most=100).lower()
    precedence = text_of(message, "precedence", most=100).lower()
    sender = senders[0].address.partition("@")[0].lower() if senders else ""
    is_answer = auto.startswith("auto-replied") or precedence in _AUTO_PRECEDENCE
    if is_answer or values_of(message, "x-autoreply") or values_of(message, "x-autorespond"):
        flags.append(Flag.AUTO_REPLY)
    elif auto.startswith("auto-"):
        flags.append(Flag.AUTOMATIC)
    if sender in _SERVERS:
        flags.append(Flag.BOUNCE)
    if precedence in _BULK_PRECEDENCE or values_of(message, "list-id"):
        flags.append(Flag.BULK)
    if values_of(message, "dkim-signature") or values_of(message, "arc-seal"):
        flags.append(Flag.SIGNED)
    if len(senders) > 1 or len(values_of(message, "from")) > 1:
        flags.append(Flag.SEVERAL_FROM)
    return flags
