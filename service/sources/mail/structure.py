"""The body of a message: which parts are its text, which are attachments, and what each of them holds."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import Message
from typing import Final

from service.sources.mail.facts import (
    MAX_ATTACHMENTS,
    MAX_HTML_BYTES,
    MAX_NAME_CHARACTERS,
    MAX_PARTS,
    MAX_REFERENCES,
    MAX_TEXT_BYTES,
    Body,
    Flag,
    Part,
    PartKind,
)
from service.sources.mail.headers import FAULTS, Mime, decode_bytes, decode_text, ids_of
from service.sources.mail.markup import UnsafeError, sanitise, text_of_html

MAX_DEPTH: Final = 50

_TYPE: Final = re.compile(r"[a-z0-9!#$&^_.+-]{1,100}/[a-z0-9!#$&^_.+-]{1,100}")
_RISKY_NAMES: Final = re.compile(
    r"\.(?:ade|adp|apk|app|application|appx|bat|chm|cmd|com|cpl|dll|dmg|docm|dotm|exe|gadget|hta|htm|html|img|ins|"
    r"iso|jar|js|jse|jnlp|lnk|mde|msc|msi|msix|msp|mst|one|pif|potm|ppam|ppsm|pptm|ps1|psm1|reg|scf|scr|sct|shtml|"
    r"svg|swf|url|vb|vbe|vbs|vhd|vhdx|wsc|wsf|wsh|xhtml|xlam|xll|xlsm|xltm|xml|xsl)\s*\.*$",
    re.IGNORECASE,
)
_RISKY_STARTS: Final = (
    b"MZ",
    b"\x7fELF",
    b"#!",
    b"\xca\xfe\xba\xbe",
    b"L\x00\x00\x00\x01\x14\x02\x00",
)
# The harmless file by which virus scanners are tested (EICAR), written so that this one is not found as such.
_TEST_MARK: Final = b"EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE"
_REPORTS: Final = {"delivery-status": Flag.BOUNCE, "disposition-notification": Flag.RECEIPT}
_ENCRYPTED: Final = frozenset(
    {"multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"}
)


@dataclass(slots=True)
class _Found:
    """What was found so far."""

    texts: list[str] = field(default_factory=list)
    markup: list[str] = field(default_factory=list)
    attachments: list[tuple[Part, bytes]] = field(default_factory=list)
    about: list[str] = field(default_factory=list)
    flags: set[Flag] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Node:
    """A part on the way through the tree. ``is_told``: another part says the same in plain text."""

    message: Mime
    depth: int
    is_told: bool


def read_body(message: Mime) -> tuple[Body, tuple[bytes, ...]]:
    """Return what the body consists of, and the bytes of each of its parts in their order.

    The text comes first, then the formatted text where there is one, then the attachments.
    """
    found = _Found()
    for node in _leaves(message, found):
        _take(node, found)
    return _body(found)


def _leaves(message: Mime, found: _Found) -> Iterator[_Node]:
    """Yield the parts that hold something, in their order, as many and as deep as are read."""
    pending = [_Node(message, 0, is_told=False)]
    seen = 0
    while pending:
        node = pending.pop()
        seen += 1
        if seen > MAX_PARTS or node.depth > MAX_DEPTH:
            found.flags.add(Flag.CUT)
            continue
        kind = node.message.get_content_type()
        found.flags |= {Flag.ENCRYPTED} if kind in _ENCRYPTED else set()
        if kind == "multipart/report":
            report = str(_parameter(node.message, "report-type")).lower()
            found.flags |= {_REPORTS[report]} if report in _REPORTS else set()
        payload = node.message.get_payload()
        if kind.startswith("multipart/") and isinstance(payload, list):
            children = [one for one in payload if isinstance(one, Message)]
            is_told = node.is_told or (
                kind == "multipart/alternative" and any(map(_is_plain_text, children))
            )
            pending += [
                _Node(child, node.depth + 1, is_told=is_told) for child in reversed(children)
            ]
        else:
            yield node


def _is_plain_text(message: Mime) -> bool:
    is_text = message.get_content_type() == "text/plain" and not _is_attached(message)
    return is_text and bool(_bytes_of(message).strip())


def _take(node: _Node, found: _Found) -> None:
    message, kind = node.message, node.message.get_content_type()
    if isinstance(message.get_payload(), list):
        _take_message(message, found)
        return
    if kind == "text/rfc822-headers":
        found.about += _ids_in(_bytes_of(message))
    is_attached = _is_attached(message)
    if kind.startswith("multipart/") or (kind == "text/plain" and not is_attached):
        # What claims to have parts and has none is read as its text.
        found.texts.append(_text(message, found))
    elif kind == "text/html" and not is_attached:
        markup = _text(message, found)
        found.markup.append(markup)
        if not node.is_told:
            found.texts.append(_plain(markup, found))
    else:
        _attach(message, kind, _bytes_of(message), found)


def _take_message(message: Mime, found: _Found) -> None:
    """Keep a message inside the message as an attachment, and what a report says with it."""
    payload = message.get_payload()
    inner = (
        [one for one in payload if isinstance(one, Message)]
        if isinstance(payload, list)
        else []
    )
    for one in inner[:1]:
        found.about += ids_of(one, "message-id")
    try:
        data = b"\r\n".join(one.as_bytes() for one in inner)
    except (*FAULTS, RecursionError):
        # It can be read and not be written again; the message as it came has it.
        found.flags.add(Flag.CUT)
        return
    _attach(message, message.get_content_type(), data, found)


def _attach(message: Mime, kind: str, data: bytes, found: _Found) -> None:
    name = _filename(message)
    if len(found.attachments) >= MAX_ATTACHMENTS:
        found.flags.add(Flag.CUT)
        return
    part = Part(
        kind=PartKind.ATTACHMENT,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        name=name,
        content_type=kind if _TYPE.fullmatch(kind) else "application/octet-stream",
        is_risky=_is_risky(name, kind, data),
    )
    found.attachments.append((part, data))


def _body(found: _Found) -> tuple[Body, tuple[bytes, ...]]:
    text = "\n\n".join(one for one in found.texts if one.strip())
    parts = [_kept(PartKind.TEXT, _cut(text, found), "text/plain")]
    if any(one.strip() for one in found.markup):
        try:
            safe = sanitise("\n<hr>\n".join(found.markup))
            parts.append(_kept(PartKind.HTML, safe.encode(), "text/html"))
        except UnsafeError:
            found.flags.add(Flag.HTML_NOT_SHOWN)
    parts += found.attachments
    about = tuple(dict.fromkeys(found.about))[:MAX_REFERENCES]
    flags = tuple(flag for flag in Flag if flag in found.flags)
    body = Body(parts=tuple(part for part, _ in parts), about=about, flags=flags)
    return body, tuple(data for _, data in parts)


def _kept(kind: PartKind, data: bytes, content_type: str) -> tuple[Part, bytes]:
    digest = hashlib.sha256(data).hexdigest()
    part = Part(kind=kind, size_bytes=len(data), sha256=digest, content_type=content_type)
    return part, data


def _cut(text: str, found: _Found) -> bytes:
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_TEXT_BYTES:
        return data
    found.flags.add(Flag.CUT)
    return data[:MAX_TEXT_BYTES].decode("utf-8", "ignore").encode()


def _plain(markup: str, found: _Found) -> str:
    try:
        return text_of_html(markup)
    except UnsafeError:
        found.flags |= {Flag.HTML_NOT_SHOWN, Flag.CUT}
        return ""


def _text(message: Mime, found: _Found) -> str:
    data = _bytes_of(message)
    if len(data) > 4 * MAX_HTML_BYTES:
        found.flags.add(Flag.CUT)
        data = data[: 4 * MAX_HTML_BYTES]
    charset = _parameter(message, "charset")
    text = decode_bytes(data, str(charset or "utf-8")[:40])
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _bytes_of(message: Mime) -> bytes:
    try:
        data = message.get_payload(decode=True)
    except FAULTS:
        data = None
    if isinstance(data, bytes):
        return data
    payload = message.get_payload()
    return payload.encode("utf-8", "surrogateescape") if isinstance(payload, str) else b""


def _parameter(message: Mime, name: str) -> object:
    """Return a parameter of the content type; its charset may be one that there is not."""
    try:
        value = message.get_param(name)
        return value[2] if isinstance(value, tuple) else value
    except FAULTS:
        return None


def _is_attached(message: Mime) -> bool:
    disposition = str(message.get("content-disposition", ""))[:100]
    return disposition.partition(";")[0].strip().lower() == "attachment" or bool(
        _filename(message)
    )


def _filename(message: Mime) -> str:
    try:
        name = message.get_filename()
    except FAULTS:
        return ""
    return decode_text(str(name or "")[:4000])[:MAX_NAME_CHARACTERS]


def _is_risky(name: str, kind: str, data: bytes) -> bool:
    is_page = kind in {"text/html", "application/xhtml+xml", "image/svg+xml"}
    is_program = data.startswith(_RISKY_STARTS) or _TEST_MARK in data[:4096]
    return is_page or is_program or _RISKY_NAMES.search(name) is not None


def _ids_in(data: bytes) -> list[str]:
    """Return the id in the headers of the message that a report is about."""
    found = re.search(
        rb"(?im)^message-id:[ \t]*(?:\r?\n[ \t]+)?<([^<>\s]{1,250})>", data[:65536]
    )
    return [found[1].decode("ascii", "replace")] if found else []
