"""Signatures of chat platforms: each is an HMAC-SHA-256 of the raw body, some with the time of sending before it."""

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, Self

from service.domain.errors import InvalidInputError, NotSignedInError
from service.intake.standard_webhooks import UNTIMELY

_KEY: Final = re.compile(r"[!-~]{16,128}", re.ASCII)
_STAMP: Final = re.compile(r"[0-9]{10}", re.ASCII)
_HEX: Final = re.compile(r"sha256=([0-9a-fA-F]{64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class BodyKey:
    """What a platform signs with."""

    key: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key that ``text`` is.

        Raises:
            InvalidInputError: It is none. The text is not repeated.
        """
        if not _KEY.fullmatch(text.strip()):
            raise InvalidInputError("the secret is not 16 to 128 visible characters")
        return cls(text.strip().encode())


@dataclass(frozen=True, slots=True)
class Scheme:
    """In which header a platform's signature stands; in ``stamp`` the time, where one is signed with the body."""

    signature: str
    stamp: str = ""


SCHEMES: Final[Mapping[str, Scheme]] = {
    "chatwoot": Scheme("X-Chatwoot-Signature", "X-Chatwoot-Timestamp"),
    "whatsapp": Scheme("X-Hub-Signature-256"),
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
    given = _HEX.fullmatch(headers.get(scheme.signature, ""))
    stamp = headers.get(scheme.stamp, "") if scheme.stamp else ""
    signed = f"{stamp}.".encode(errors="surrogateescape") if scheme.stamp else b""
    is_valid = False
    for key in keys:
        mac = hmac.new(key.key, signed, "sha256")
        mac.update(body)
        is_valid |= hmac.compare_digest(
            mac.digest(), bytes.fromhex(given[1]) if given else bytes(32)
        )
    if not is_valid or given is None:
        raise NotSignedInError("no signature matches")
    if not scheme.stamp:
        return ()
    if not _STAMP.fullmatch(stamp):
        raise NotSignedInError("no signature matches")
    signed_at = datetime.fromtimestamp(int(stamp), UTC)
    return () if abs(now - signed_at) <= tolerance else (UNTIMELY,)
