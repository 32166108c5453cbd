"""The bytes that a signature in a mail is of: headers and body, canonical (RFC 6376, sections 3.4 and 3.7). Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_HEADERS: Final = 10_000
_FOLD: Final = re.compile(rb"\r\n(?=[ \t])")
_SPACES: Final = re.compile(rb"[ \t]+")
_LINE_ENDS: Final = re.compile(rb"[ \t]+(?=\r\n)")
_VALUE_OF_B: Final = re.compile(rb"((?:\A|;)[ \t\r\n]*b[ \t\r\n]*=)[^;]*")
_BLOCK: Final = b"\r\n" * 4096

Header = tuple[bytes, bytes]
"""The name of a header as it is written, and everything after the colon, its folds included."""


@dataclass(frozen=True, slots=True)
class SignedMail:
    """A mail as signatures see it: with CRLF as its line ends."""

    headers: tuple[Header, ...]
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        """Return the headers of ``name`` (small letters), from the first on."""
        return [value for known, value in self.headers if known.strip().lower() == name]


def split_mail(raw: bytes) -> SignedMail:
    """Return the headers and the body of ``raw``; lines of the head that are no headers are left out."""
    mail = raw if b"\n" not in raw.replace(b"\r\n", b"") else _with_crlf(raw)
    head, _, body = mail.partition(b"\r\n\r\n")
    if mail.startswith(b"\r\n"):
        head, body = b"", mail[2:]
    found = []
    for line in _unfolded_lines(head)[:MAX_HEADERS]:
        name, colon, value = line.partition(b":")
        if colon and name.strip():
            found.append((name, value))
    return SignedMail(tuple(found), body)


def canonical_header(header: Header, *, is_relaxed: bool) -> bytes:
    """Return a header as it is signed, without the line end after it."""
    name, value = header
    if not is_relaxed:
        return name + b":" + value
    plain = _SPACES.sub(b" ", _FOLD.sub(b"", value)).strip(b" \t")
    return name.strip(b" \t").lower() + b":" + plain


def canonical_body(body: bytes, *, is_relaxed: bool) -> bytes:
    """Return a body as it is hashed."""
    if is_relaxed:
        # A line of spaces alone is an empty one.
        body = _SPACES.sub(b" ", _LINE_ENDS.sub(b"", body))
        body = body.removesuffix(b" ")
    end = _without_empty_lines(body)
    if end == 0:
        return b"" if is_relaxed else b"\r\n"
    return body[:end] + b"\r\n"


def without_signature(value: bytes) -> bytes:
    """Return the value of a signature's header as it was when it was signed: ``b=`` is empty."""
    return _VALUE_OF_B.sub(rb"\1", value, count=1)


def selected(mail: SignedMail, names: Sequence[bytes]) -> list[Header]:
    """Return the headers that ``names`` (small letters) choose: of several of a name the last, then the one before.

    A name beyond those that there are chooses nothing: whoever signs it so forbids that another is added.
    """
    left: dict[bytes, list[Header]] = {}
    for header in mail.headers:
        left.setdefault(header[0].strip().lower(), []).append(header)
    return [left[name].pop() for name in names if left.get(name)]


def _unfolded_lines(head: bytes) -> list[bytes]:
    """Return the head's headers, each with the lines that continue it."""
    lines: list[list[bytes]] = []
    for line in head.split(b"\r\n"):
        if line[:1] in {b" ", b"\t"} and lines:
            lines[-1].append(line)
        else:
            lines.append([line])
    return [b"\r\n".join(parts) for parts in lines]


def _with_crlf(raw: bytes) -> bytes:
    return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _without_empty_lines(body: bytes) -> int:
    """Return where the last line that says something ends."""
    end = len(body)
    while body.endswith(_BLOCK, 0, end):
        end -= len(_BLOCK)
    while body.endswith(b"\r\n", 0, end):
        end -= 2
    return end
