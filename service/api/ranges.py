"""The Range header (RFC 9110, section 14): which bytes of a content were asked for.

One range is served. What a server may ignore is ignored, so that the whole content follows: units other than
bytes, ranges that break the grammar, and more than one range, which nobody needs in order to listen and which
costs a server dear.
"""

import re
from dataclasses import dataclass
from typing import Final

_RANGE: Final = re.compile(r"bytes=(?P<set>[0-9,\- \t]*)", re.ASCII | re.IGNORECASE)
_SPEC: Final = re.compile(r"(?P<first>[0-9]*)-(?P<last>[0-9]*)", re.ASCII)
# Beyond this many digits a position is past the end of anything; int() would refuse some thousand.
_MAX_DIGITS: Final = 19
_MAX_ELEMENTS: Final = 16
_ETAG: Final = re.compile(r'"[\x21\x23-\x7e\x80-\xff]*"')


class UnsatisfiableRangeError(Exception):
    """The range is well-formed, and no byte of the content lies in it (416)."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes ``start <= i < stop`` of a content; there is one or more."""

    start: int
    stop: int

    def format(self, size_bytes: int) -> str:
        """Return the Content-Range of a 206 (RFC 9110, section 14.4)."""
        return f"bytes {self.start}-{self.stop - 1}/{size_bytes}"


def parse_range(text: str | None, size_bytes: int) -> ByteRange | None:
    """Return the one range that ``text`` asks for, cut to the content, or None for the whole content.

    Raises:
        UnsatisfiableRangeError: It begins past the end, or is a suffix of no bytes.
    """
    match = _RANGE.fullmatch(text) if text is not None else None
    if match is None:
        return None
    elements = match["set"].split(",")
    # Empty elements of a list are ignored (RFC 9110, section 5.6.1.2), a reasonable number of them.
    specs = [element.strip(" \t") for element in elements if element.strip(" \t")]
    if len(specs) != 1 or len(elements) > _MAX_ELEMENTS:
        return None
    spec = _SPEC.fullmatch(specs[0])
    if spec is None or not (spec["first"] or spec["last"]):
        return None
    if not spec["first"]:
        return _suffix(_position(spec["last"]), size_bytes)
    return _between(
        _position(spec["first"]), _position(spec["last"]) if spec["last"] else None, size_bytes
    )


def decide_if_range(text: str | None, etag: str) -> bool:
    """Decide whether a Range counts: there is no If-Range, or it names ``etag`` strongly.

    (RFC 9110, section 13.1.5.) A date never matches, because contents have no Last-Modified.
    """
    return text is None or (_ETAG.fullmatch(text.strip()) is not None and text.strip() == etag)


def _position(digits: str) -> int:
    significant = digits.lstrip("0") or "0"
    return 10**_MAX_DIGITS if len(significant) > _MAX_DIGITS else int(significant)


def _suffix(length: int, size_bytes: int) -> ByteRange | None:
    if length == 0:
        raise UnsatisfiableRangeError
    if size_bytes == 0:
        # Satisfiable, and yet no Content-Range can say so: the whole content, which is empty.
        return None
    return ByteRange(max(0, size_bytes - length), size_bytes)


def _between(first: int, last: int | None, size_bytes: int) -> ByteRange | None:
    if last is not None and last < first:
        return None
    if first >= size_bytes:
        raise UnsatisfiableRangeError
    return ByteRange(first, size_bytes if last is None else min(last + 1, size_bytes))
