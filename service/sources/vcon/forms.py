"""The forms of a vCon: unsigned, signed, hybrid, encrypted; packed with gzip or not (draft-ietf-vcon-vcon-core).

Of a signed vCon the verified payload alone is believed. Some writers repeat its members in the clear beside it
("hybrid"): that copy is never read, only compared, because who changed it hoped that it would be.
"""

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from service.domain.errors import InvalidInputError
from service.sources.strict_json import decode_json
from service.sources.vcon.errors import ENCRYPTED, SIGNATURE_INVALID, NotBelievedError
from service.sources.vcon.rule import VconRule
from service.sources.vcon.signature import verify_jws

UNCHECKED: Final = "signature_unchecked"
"""The remark on a vCon that is signed, by whom nobody can tell: the source has no trusted certificates."""
COPY_DIFFERS: Final = "copy_differs"
"""The remark on a signed vCon whose copy in the clear says something else."""

MAX_LAYERS: Final = 4
MAX_VALUES: Final = 400_000
"""So many values, as commas and brackets outside of strings tell them; 400,000 take some 100 MB at the worst."""
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
"""So many signatures around each other: one is renewed by signing it again."""
_GZIP: Final = b"\x1f\x8b"
_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
_OWN: Final = frozenset({"payload", "signatures", "updated_at"})

Vcon = dict[str, object]


@dataclass(frozen=True, slots=True)
class OpenedVcon:
    """The members of a vCon that may be believed, and what was remarked (stable codes)."""

    vcon: Vcon
    remarks: tuple[str, ...] = ()


def open_vcon(body: bytes, rule: VconRule, *, received_at: datetime) -> OpenedVcon:
    """Return the vCon in what was delivered.

    Raises:
        NotBelievedError: Nobody vouches for it who has to, or it is encrypted.
        InvalidInputError: It is none, or unpacks to more than is taken.
    """
    value = _object(unpack(body, max_bytes=rule.max_bytes))
    remarks: dict[str, None] = {}
    is_signed = False
    for _ in range(MAX_LAYERS):
        if "ciphertext" in value and "recipients" in value:
            raise NotBelievedError(
                ENCRYPTED, "the vCon is encrypted, for a key that is not ours"
            )
        if "payload" not in value and "signatures" not in value:
            break
        # Whoever renews a signature vouches for the one inside.
        anchors = None if is_signed else rule.anchors
        payload, is_trusted = verify_jws(value, anchors, at=received_at)
        if not is_signed and not is_trusted:
            remarks[UNCHECKED] = None
        is_signed = True
        inner = _object(unpack(payload, max_bytes=rule.max_bytes))
        if _differs(value, inner):
            remarks[COPY_DIFFERS] = None
        value = inner
    else:
        raise InvalidInputError(f"more than {MAX_LAYERS - 1} signatures around each other")
    if rule.requires_signature and not is_signed:
        raise NotBelievedError(
            SIGNATURE_INVALID, "it is not signed, and its source has to sign"
        )
    if not any(name in value for name in ("parties", "dialog", "analysis", "attachments")):
        raise InvalidInputError("no vCon: neither parties nor dialog, analysis or attachments")
    return OpenedVcon(value, tuple(remarks))


def unpack(body: bytes, *, max_bytes: int) -> bytes:
    """Return ``body``, unpacked if it is packed with gzip (RFC 1952). Its first bytes tell, whatever the sender says.

    Raises:
        InvalidInputError: It is cut short, or unpacks to more than ``max_bytes``.
    """
    if not body.startswith(_GZIP):
        return body
    unpacker = zlib.decompressobj(wbits=_GZIP_BITS)
    try:
        plain = unpacker.decompress(body, max_bytes + 1)
    except zlib.error:
        raise InvalidInputError("what is packed cannot be unpacked") from None
    if len(plain) > max_bytes:
        raise InvalidInputError(f"unpacked it has more than {max_bytes} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidInputError("what is packed is cut short, or followed by something else")
    return plain


def _require_few(data: bytes) -> None:
    """Return when so many values can be read without filling the memory: a few bytes of JSON become hundreds.

    Raises:
        InvalidInputError: There are more.
    """
    if _count(data) > MAX_VALUES and _count(_STRING.sub(b"", data)) > MAX_VALUES:
        raise InvalidInputError(f"a vCon has at most {MAX_VALUES} values")


def _count(data: bytes) -> int:
    return sum(data.count(one) for one in (b",", b"[", b"{"))


def _object(data: bytes) -> Vcon:
    _require_few(data)
    value = decode_json(data)
    if not isinstance(value, dict):
        raise InvalidInputError("a vCon is a JSON object")
    return value


def _differs(outer: Mapping[str, object], inner: Mapping[str, object]) -> bool:
    """Tell whether a member in the clear is another than the signed one; nothing is the same as left out."""
    return any(
        (value or None) != (inner.get(name) or None)
        for name, value in outer.items()
        if name not in _OWN
    )
