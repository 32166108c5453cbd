"""Base64 in its one canonical form (RFC 4648, section 4)."""

import base64
import binascii

from service.log.errors import FormatError
from service.log.merkle import HASH_BYTES


def format_base64(data: bytes) -> str:
    """Return ``data`` in standard base64 with padding."""
    return base64.b64encode(data).decode("ascii")


def parse_base64(text: str) -> bytes:
    """Return the bytes of ``text``.

    Raises:
        FormatError: It is not base64, or not the spelling that ``format_base64`` gives.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise FormatError("This is not base64.") from error
    # Unused bits that are not zero decode all the same; then two texts would mean one value.
    if format_base64(data) != text:
        raise FormatError("This is not canonical base64.")
    return data


def parse_hash(text: str) -> bytes:
    """Return the hash that ``text`` gives in base64.

    Raises:
        FormatError: It is not canonical base64 of 32 bytes.
    """
    value = parse_base64(text)
    if len(value) != HASH_BYTES:
        raise FormatError("A hash is not 32 bytes long.")
    return value
