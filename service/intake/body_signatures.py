"""Signatures of chat platforms: each is an HMAC-SHA-256 of the raw body, some with the time of sending before it."""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from service.domain.errors import InvalidInputError, NotSignedInError
from service.domain.times import parse_rfc3339
from service.intake.standard_webhooks import UNTIMELY

_KEY: Final = re.compile(r"[!-~]{16,128}", re.ASCII)
_STAMP: Final = re.compile(r"[0-9]{10}", re.ASCII)
_HEX: Final = re.compile(r"sha256=([0-9a-fA-F]{64})", re.ASCII)
_MAC_BYTES: Final = 32
# With it Zendesk signs what is sent as a test before a webhook is there; it stands in its documentation.
_PUBLISHED: Final = base64.b64encode(b"this_secret_is_for_testing_only")


@dataclass(frozen=True, slots=True)
class BodyKey:
    """What a platform signs with."""

    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that ``text`` is.

        Raises:
            InvalidInputError: It is none, or one that everybody knows. The text is not repeated.
        """
        if not _KEY.fullmatch(text.strip()):
            raise InvalidInputError("the secret is not 16 to 128 visible characters")
        if text.strip().encode() == _PUBLISHED:
            raise InvalidInputError(
                "the secret is the one of Zendesk's tests, which is published"
            )
        return cls(text.strip().encode())


@dataclass(frozen=True, slots=True)
class Scheme:
    """In which header a platform's signature stands; in ``stamp`` the time, where one is signed with the body.

    ``separator`` stands between the two. ``is_base64``: the signature is base64, and the time as of RFC 3339; else the
    signature is hexadecimal after ``sha256=``, and the time seconds since 1970.
    """

    signature: str
    stamp: str = ""
    separator: str = "."
    is_base64: bool = False


SCHEMES: Final[Mapping[str, Scheme]] = {
    "chatwoot": Scheme("X-Chatwoot-Signature", "X-Chatwoot-Timestamp"),
    "whatsapp": Scheme("X-Hub-Signature-256"),
    "zendesk": Scheme(
        "X-Zendesk-Webhook-Signature",
        "X-Zendesk-Webhook-Signature-Timestamp",
        separator="",
        is_base64=True,
    ),
}
"""The scheme of each kind that signs so."""


def verify_body(
    scheme: Scheme,
    headers: Mapping[str, str],
    body: bytes,
    *,
    keys: Sequence[BodyKey],
    tolerance: timedelta,
    now: datetime,
) -> tuple[str, ...]:
    """Return what a person should look at although one of ``keys`` signed: a time outside of the tolerance.

    Every key is tried, in constant time.

    Raises:
        NotSignedInError: None did.
    """
    given = _mac(headers.get(scheme.signature, ""), is_base64=scheme.is_base64)
    stamp = headers.get(scheme.stamp, "") if scheme.stamp else ""
    before = f"{stamp}{scheme.separator}" if scheme.stamp else ""
    is_valid = False
    for key in keys:
        mac = hmac.new(key.key, before.encode(errors="surrogateescape"), "sha256")
        mac.update(body)
        is_valid |= hmac.compare_digest(mac.digest(), given or bytes(_MAC_BYTES))
    if not is_valid or given is None:
        raise NotSignedInError("no signature matches")
    if not scheme.stamp:
        return ()
    signed_at = _time(stamp, is_text=scheme.is_base64)
    return () if abs(now - signed_at) <= tolerance else (UNTIMELY,)


def _mac(text: str, *, is_base64: bool) -> bytes | None:
    """Return what a header says that the signature is; None where it says nothing that can be one."""
    if not is_base64:
        found = _HEX.fullmatch(text)
        return bytes.fromhex(found[1]) if found else None
    try:
        mac = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return mac if len(mac) == _MAC_BYTES else None


def _time(stamp: str, *, is_text: bool) -> datetime:
    try:
        if is_text:
            return parse_rfc3339(stamp)
        if _STAMP.fullmatch(stamp):
            return datetime.fromtimestamp(int(stamp), UTC)
    except ValueError:
        pass
    raise NotSignedInError("no signature matches")
