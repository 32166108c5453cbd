"""Secrets that we give out once and keep only as hashes: cookies, tokens, one-time links."""

import base64
import hashlib
import os
import re
from collections.abc import Callable
from typing import Final

SECRET_BYTES: Final = 32
"""256 random bits: nothing to guess, so that one unsalted SHA-256 keeps them (NIST SP 800-63B-4, section 3.1.2.2)."""

_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{43}")


def new_secret(*, random: Callable[[int], bytes] = os.urandom) -> str:
    """Return a new secret: 43 characters of base64url (RFC 4648, section 5)."""
    return base64.urlsafe_b64encode(random(SECRET_BYTES)).decode("ascii").rstrip("=")


def is_secret(text: str) -> bool:
    """Tell whether ``text`` has the form of a secret; nothing else needs to be looked up."""
    return _TEXT.fullmatch(text) is not None


def hash_secret(secret: str) -> bytes:
    """Return what is stored of ``secret``."""
    return hashlib.sha256(secret.encode()).digest()
