"""What FreeSWITCH posts, in whichever of its encodings, whatever its Content-Type says.

mod_json_cdr and mod_xml_cdr send ``cdr=`` and the document: percent-encoded, in base64, or as it is; or the document
alone. Their header names another encoding than the body's where ``disable-100-continue`` is set: the body alone tells.
"""

import base64
import binascii
import re
from typing import Final
from urllib.parse import unquote_to_bytes

from service.domain.errors import InvalidInputError

_BOM: Final = b"\xef\xbb\xbf"
_PARAMETER: Final = re.compile(rb"\A(?:[a-z_]{1,20}=[^&{<]{0,200}&){0,4}cdr=")
_DOCUMENTS: Final = (b"{", b"<")


def unwrap(body: bytes) -> bytes:
    """Return the JSON or XML document in ``body``; its first byte tells which.

    Raises:
        InvalidInputError: There is none.
    """
    plain = body.strip().removeprefix(_BOM)
    value = _PARAMETER.sub(b"", plain, count=1)
    if value.startswith(_DOCUMENTS):
        return value
    if value.startswith(b"%"):
        # Not form-decoded: a + is encoded too, so one that stands there is itself.
        document = unquote_to_bytes(value.partition(b"&")[0]).strip()
    else:
        document = _from_base64(value).strip()
    if not document.startswith(_DOCUMENTS):
        raise InvalidInputError(
            "not a call record of FreeSWITCH: neither JSON nor XML, percent-encoded or in base64"
        )
    return document


def _from_base64(value: bytes) -> bytes:
    """Return what ``value`` encodes, or nothing. A proxy that reads it as a form makes spaces of its plus signs."""
    text = unquote_to_bytes(value.partition(b"&")[0])
    packed = text.replace(b" ", b"+").translate(None, b"\r\n")
    try:
        return base64.b64decode(packed, validate=True)
    except binascii.Error:
        return b""
