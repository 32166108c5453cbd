"""Standard Webhooks signatures: who sent these very bytes, and when.

The signed content is ``id.timestamp.body`` over the raw bytes (Standard Webhooks specification, "Signature scheme").
"""

import base64
import binascii
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

from service.domain.errors import InvalidInputError, NotSignedInError

UNTIMELY = "outside_tolerance"
"""What is remarked of a delivery whose signature is valid and whose time is not."""

_PREFIX = "whsec_"
_MIN_SECRET_BYTES = 24
_MAX_SECRET_BYTES = 64
_MAX_SIGNATURES = 16
# A token (RFC 9110, section 5.6.2) without ".", which would let one signed text be read as two different pairs of id
# and time.
_ID = re.compile(r"[A-Za-z0-9!#$%&'*+\-^_`|~]{1,256}")
_TIMESTAMP = re.compile(r"[0-9]{1,16}", re.ASCII)
_LAST_SECOND = 253_402_300_799


@dataclass(frozen=True, slots=True)
class WebhookSecret:
    """A shared secret, written ``whsec_`` and base64 of 24 to 64 bytes."""

    key: bytes = field(repr=False)
    _keyed: hmac.HMAC = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_keyed", hmac.new(self.key, digestmod="sha256"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the secret that ``text`` writes.

        Raises:
            InvalidInputError: It is not one. The text is not repeated.
        """
        try:
            key = base64.b64decode(text.strip().removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            # The chain is cut, because its text could repeat the secret.
            raise InvalidInputError("the secret is not whsec_ and base64") from None
        if not _MIN_SECRET_BYTES <= len(key) <= _MAX_SECRET_BYTES:
            raise InvalidInputError(
                f"the secret has {_MIN_SECRET_BYTES} to {_MAX_SECRET_BYTES} bytes, not {len(key)}"
            )
        return cls(key)

    def mac(self, *parts: bytes) -> bytes:
        """Return HMAC-SHA-256 of the parts together. Copying the keyed state costs half of setting it up again."""
        mac = self._keyed.copy()
        for part in parts:
            mac.update(part)
        return mac.digest()


@dataclass(frozen=True, slots=True)
class Signed:
    """What a valid signature vouches for. ``is_timely`` is False outside of the tolerance."""

    id: str
    signed_at: datetime
    is_timely: bool


def has_signature(headers: Mapping[str, str]) -> bool:
    """Tell whether the headers are there in which a signature stands, whatever it is worth."""
    return all(headers.get(f"webhook-{name}") for name in ("id", "timestamp", "signature"))


def verify_signature(
    headers: Mapping[str, str],
    body: bytes,
    *,
    secrets: Sequence[WebhookSecret],
    tolerance: timedelta,
    now: datetime,
) -> Signed:
    """Return what the signature vouches for; any of ``secrets`` may have made it, any of the signatures may be it.

    Every secret is tried in the same way, also when one has matched, and comparisons take constant time.

    Raises:
        NotSignedInError: There is no valid signature of these bytes, or the headers are not of their form.
    """
    ident = headers.get("webhook-id", "")
    stamp = headers.get("webhook-timestamp", "")
    if not _ID.fullmatch(ident) or not _TIMESTAMP.fullmatch(stamp):
        raise NotSignedInError("webhook-id or webhook-timestamp is missing or malformed")
    given = _signatures(headers.get("webhook-signature", ""))
    is_valid = False
    for secret in secrets:
        expected = secret.mac(f"{ident}.{stamp}.".encode(), body)
        for signature in given:
            is_valid |= hmac.compare_digest(expected, signature)
    if not is_valid:
        raise NotSignedInError("no signature matches")
    # A time that no calendar has, such as one in milliseconds, is outside of every tolerance.
    signed_at = datetime.fromtimestamp(min(int(stamp), _LAST_SECOND), UTC)
    return Signed(ident, signed_at, abs(now - signed_at) <= tolerance)


def _signatures(text: str) -> list[bytes]:
    """Return the ``v1`` signatures; other versions and malformed ones are passed over."""
    found = []
    for part in text.split(" ")[:_MAX_SIGNATURES]:
        version, _, encoded = part.partition(",")
        if version == "v1":
            try:
                found.append(base64.b64decode(encoded, validate=True))
            except (binascii.Error, ValueError):
                continue
    return found
