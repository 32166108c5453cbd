"""Shared secrets that a sender sends: by HTTP Basic, or in the path where it has no other place for them."""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from service.domain.errors import InvalidInputError, NotSignedInError

_BASIC: Final = "basic"
# What stands in a URL as it is (RFC 3986, section 2.3); 32 characters of 64 are 192 bits.
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{32,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """A secret that a source sends with each delivery. Its SHA-256 alone is kept in memory."""

    digest: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the secret that ``text`` is.

        Raises:
            InvalidInputError: It is not one. The text is not repeated.
        """
        if not _SECRET.fullmatch(text.strip()):
            raise InvalidInputError("the secret is not 32 to 128 letters, digits, - and _")
        return cls(hashlib.sha256(text.strip().encode()).digest())


def require_secret(sent: str, *, secrets: Sequence[SharedSecret]) -> None:
    """Return when ``sent`` is one of ``secrets``. Each is tried, in constant time.

    Raises:
        NotSignedInError: It is none of them.
    """
    digest = hashlib.sha256(sent.encode(errors="surrogateescape")).digest()
    is_one = False
    for secret in secrets:
        is_one |= hmac.compare_digest(secret.digest, digest)
    if not is_one:
        raise NotSignedInError("the secret is none of this source")


def basic_secret(authorization: str, *, user: str) -> str:
    """Return the password that ``user`` sends by HTTP Basic (RFC 7617); nothing when it sends none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != _BASIC:
        return ""
    try:
        name, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return ""
    return password.decode(errors="surrogateescape") if name == user.encode() else ""
