"""Where the metadata stand in what a recording server posts: alone, or among the parts of the INVITE's body.

RFC 7866 (section 9.1) sends ``multipart/mixed`` with SDP and metadata. Vendors send them in either order, with further
parts, and under several media types; what a part is, its bytes tell where its header does not.
"""

import base64
import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from service.domain.errors import InvalidInputError

MAX_PARTS: Final = 64
"""Parts of a body. An INVITE has two to five."""
_MAX_NESTED: Final = 3
_METADATA: Final = "rs-metadata"
_BOM: Final = b"\xef\xbb\xbf"
_BEGINS_XML: Final = (b"<", b"\xff\xfe<", b"\xfe\xff\x00<")
_BOUNDARY: Final = re.compile(
    r';\s*boundary\s*=\s*(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE
)
_FIRST_LINE: Final = re.compile(rb"\A--([!-~](?:[ -~]{0,68}[!-~])?)[ \t]*\r?\n")
# Of the root element: recording (RFC 7865), or recording_metadata (BroadWorks).
_ROOT: Final = re.compile(
    rb"<(?:[A-Za-z_][\w.-]{0,40}:)?recording(?:_metadata)?[\s>/]", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class _Part:
    content_type: str
    body: bytes

    @property
    def is_xml(self) -> bool:
        return self.body.startswith(_BEGINS_XML)


def find_metadata(content_type: str, body: bytes) -> bytes:
    """Return the XML document of metadata in ``body``, verbatim.

    Raises:
        InvalidInputError: There is none, or the parts cannot be told apart.
    """
    plain = (
        body.removeprefix(_BOM).strip() if body[:2] not in {b"\xff\xfe", b"\xfe\xff"} else body
    )
    whole = _Part(content_type, plain)
    if whole.is_xml:
        return plain
    parts = list(_leaves(whole, level=0))
    told = [one for one in parts if _METADATA in one.content_type.lower() and one.is_xml]
    told += [one for one in parts if one.is_xml and _ROOT.search(one.body)]
    if not told:
        raise InvalidInputError(
            "there are no recording metadata (application/rs-metadata+xml) in what was sent: the session"
            " cannot be told; Cisco's network-based recording sends none"
        )
    return told[0].body


def _leaves(whole: _Part, *, level: int) -> Iterator[_Part]:
    """Yield the parts that are not made of parts."""
    boundary = _boundary_of(whole)
    if boundary is None or level >= _MAX_NESTED:
        yield whole
        return
    for part in _parts(whole.body, boundary):
        if part.content_type.lower().startswith("multipart/"):
            yield from _leaves(part, level=level + 1)
        else:
            yield part


def _boundary_of(part: _Part) -> bytes | None:
    """Return the boundary; where the header tells none that is there, the first line may be one."""
    told = _BOUNDARY.search(part.content_type)
    if told is not None:
        boundary = (told[1] or told[2]).encode("utf-8", "surrogateescape")
        if b"--" + boundary in part.body:
            return boundary
    first = _FIRST_LINE.match(part.body)
    return first[1] if first else None


def _parts(body: bytes, boundary: bytes) -> Iterator[_Part]:
    line = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(?:--)?[ \t]*(?=\r?\n|\Z)")
    pieces = line.split(body, maxsplit=MAX_PARTS + 2)
    if len(pieces) > MAX_PARTS + 2:
        raise InvalidInputError(f"more than {MAX_PARTS} parts")
    # What stands before the first boundary and after the last is none (RFC 2046, section 5.1.1).
    for piece in pieces[1:]:
        if piece.strip():
            yield _part(piece)


def _part(piece: bytes) -> _Part:
    """Return a part, which begins with the end of the boundary's line."""
    after = re.sub(rb"\A\r?\n", b"", piece, count=1)
    if after.startswith((b"\r\n", b"\n", *_BEGINS_XML)):
        return _Part("", after.strip())
    head, _, body = after.replace(b"\r\n\r\n", b"\n\n", 1).partition(b"\n\n")
    headers = {}
    for line in re.sub(rb"\r?\n[ \t]+", b" ", head).splitlines():
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip().decode("utf-8", "replace")
    content = body.strip()
    if headers.get(b"content-transfer-encoding", "").lower() == "base64":
        content = _from_base64(content)
    return _Part(
        headers.get(b"content-type", headers.get(b"c", "")), content.removeprefix(_BOM)
    )


def _from_base64(content: bytes) -> bytes:
    try:
        return base64.b64decode(content).strip()
    except binascii.Error:
        return b""
