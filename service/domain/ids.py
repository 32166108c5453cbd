"""Random ids: what everything is called outside of its sealed fields."""

import base64
import os
import re
from collections.abc import Callable

from service.domain.errors import NotFoundError

_LENGTH_BYTES = 16
_TEXT = re.compile(r"[a-z2-7]{26}")


def new_id(prefix: str, *, random: Callable[[int], bytes] = os.urandom) -> str:
    """Return a new id such as ``ct_…``: 128 random bits in lower-case base32 (RFC 4648, section 6)."""
    text = base64.b32encode(random(_LENGTH_BYTES)).decode("ascii").rstrip("=").lower()
    return f"{prefix}_{text}"


def parse_id(prefix: str, text: str) -> str:
    """Return ``text``, an id with ``prefix``.

    Raises:
        NotFoundError: ``text`` is no such id, so nothing can be called that.
    """
    head, _, tail = text.partition("_")
    if head != prefix or not _TEXT.fullmatch(tail):
        raise NotFoundError(f"not an id of kind {prefix}")
    return text
